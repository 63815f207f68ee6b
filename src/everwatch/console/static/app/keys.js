// The keyboard: keys of the whole console, and sequences that begin with g.
import { signal } from "./html.js";
import { go, to } from "./router.js";

/** Which overlay is open: "palette", "keys", "menu" or "". */
export const overlay = signal("");
/** What a key does on the present page: key → function. Pages fill and empty it. */
export const pageKeys = new Map();

const PLACES = { o: [], m: ["monitors"], u: ["users"], t: ["tasks"], c: ["changes"], p: ["partitions"], l: ["live"], d: ["dead-letters"], i: ["incidents"], n: ["notifications"], a: ["audit"], j: ["jobs"], s: ["status-pages"], k: ["tokens"], f: ["import"] };
const SEQUENCE_MS = 1_200;
let begunAt = 0;

function isTyping(target) {
  return target instanceof HTMLElement && (target.isContentEditable || /^(INPUT|TEXTAREA|SELECT)$/.test(target.tagName)) && target.type !== "checkbox";
}

document.addEventListener("keydown", (event) => {
  if ((event.ctrlKey || event.metaKey) && !event.altKey && event.key.toLowerCase() === "k") {
    event.preventDefault();
    overlay.value = overlay.value === "palette" ? "" : "palette";
    return;
  }
  if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
  if (isTyping(event.target)) {
    if (event.key === "Escape") {
      // a browser would also clear a search field, and the list with it
      event.preventDefault();
      event.target.blur();
    }
    return;
  }
  if (event.timeStamp - begunAt < SEQUENCE_MS && begunAt) {
    begunAt = 0;
    if (event.key in PLACES) {
      event.preventDefault();
      go(to(PLACES[event.key]));
      return;
    }
  }
  if (event.key === "g") begunAt = event.timeStamp;
  else if (event.key === "/") {
    event.preventDefault();
    const field = document.querySelector("[data-search]");
    if (field) field.focus();
    else overlay.value = "palette";
  } else if (event.key === "?") {
    event.preventDefault();
    overlay.value = "keys";
  } else if (pageKeys.has(event.key)) {
    if (pageKeys.get(event.key)(event) !== false) event.preventDefault();
  }
});
