// How many monitors and users there are, by state, kind and plan: loaded once for the navigation and for every page.
import { computed, signal, useEffect } from "./html.js";
import { useGet, useThrottled } from "./load.js";
import { ONLY_TRANSITIONS, useLive } from "./live.js";

/** As ``/v1/counts`` has them; null until they are there, and where the token does not see them. */
export const counts = signal(null);
/** How many monitors are down or late. */
export const ailing = computed(() => (counts.value?.monitors ?? []).filter((each) => each.state === "down" || each.state === "late").reduce((sum, each) => sum + each.monitors, 0));

/** Keeps the counts up to date. */
export function Counts() {
  const { data, reload } = useGet("/v1/counts", null, { every: 30_000 });
  const soon = useThrottled(reload, 3_000);
  useLive(ONLY_TRANSITIONS, soon);
  useEffect(() => {
    if (data) counts.value = data;
  }, [data]);
  useEffect(() => () => (counts.value = null), []); // signed out
  return null;
}
