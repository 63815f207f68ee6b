// A state or status: an icon and a word, and a colour besides.
import { html } from "../app/html.js";
import { Icon } from "./icon.js";

// state, status of a result, status of a task → look, icon, word
const LOOKS = {
  up: ["up", "up", "Up"],
  down: ["down", "down", "Down"],
  late: ["late", "late", "Late"],
  paused: ["idle", "paused", "Paused"],
  new: ["fresh", "new", "New"],
  done: ["up", "done", "Done"],
  success: ["up", "up", "Success"],
  failure: ["down", "down", "Failure"],
  failed: ["down", "down", "Failed"],
  skipped: ["idle", "skipped", "Skipped"],
  pending: ["fresh", "late", "Pending"],
  running: ["fresh", "play", "Running"],
  cancelled: ["idle", "skipped", "Cancelled"],
  flapping: ["late", "flapping", "Flapping"],
  sent: ["up", "done", "Sent"],
  sending: ["fresh", "play", "Sending"],
  dead: ["down", "down", "Given up"],
  superseded: ["idle", "skipped", "Replaced"],
  ok: ["up", "up", "OK"],
  warning: ["late", "incidents", "Warning"],
  error: ["down", "down", "Error"],
};

const OVER = new Set(["done", "failed"]);
export const STATES = ["down", "late", "new", "up", "paused", "done"];
export const lookOf = (state) => LOOKS[state]?.[0] ?? "idle";
export const iconOf = (state) => LOOKS[state]?.[1] ?? "info";
export const wordOf = (state) => LOOKS[state]?.[2] ?? String(state);

/** What stands for a state: of one that is over, how its last run ended if that was no success. */
export const shownOf = (state, outcome) => {
  if (!OVER.has(state) || !outcome || outcome === "success") return state;
  return outcome === "failure" ? "failed" : outcome;
};

/** What stands for a monitor in a list: while it changes to and fro, that. */
export const shownOfMonitor = (monitor) => (monitor.flapping ? "flapping" : monitor.state);

/** What stands for an incident: while its monitor changes to and fro, that; else the monitor's state. */
export const shownOfIncident = (incident) => (incident.phase === "flapping" ? "flapping" : incident.state);

export function State({ state: reached, outcome, badge = false }) {
  const state = shownOf(reached, outcome);
  return html`<span class=${`state is-${lookOf(state)}${badge ? " badge" : ""}`}><${Icon} name=${iconOf(state)} /><span>${wordOf(state)}</span></span>`;
}
