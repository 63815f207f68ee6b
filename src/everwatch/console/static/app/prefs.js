// What a person sets for this browser: theme and time zone.
import { effect, signal } from "./html.js";

const THEMES = ["auto", "light", "dark"];
const ZONES = ["local", "utc"];

export const theme = signal(stored("everwatch.theme", THEMES));
export const zone = signal(stored("everwatch.zone", ZONES));

effect(() => {
  const root = document.documentElement;
  if (theme.value === "auto") delete root.dataset.theme;
  else root.dataset.theme = theme.value;
  keep("everwatch.theme", theme.value);
});
effect(() => keep("everwatch.zone", zone.value));

export const nextTheme = () => (theme.value = THEMES[(THEMES.indexOf(theme.value) + 1) % THEMES.length]);
export const nextZone = () => (zone.value = ZONES[(ZONES.indexOf(zone.value) + 1) % ZONES.length]);

function stored(name, allowed) {
  try {
    const found = localStorage.getItem(name);
    return allowed.includes(found) ? found : allowed[0];
  } catch {
    return allowed[0];
  }
}

function keep(name, value) {
  try {
    localStorage.setItem(name, value);
  } catch {
    // storage is switched off: the choice holds for this page only
  }
}
