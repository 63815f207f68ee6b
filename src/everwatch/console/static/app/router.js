// The router: every view is a URL below /console/; filters, sort and range are its query.
import { computed, signal } from "./html.js";

const BASE = "/console/";
/** The address of a status page on this host. */
export const STATUS_PAGE = /^\/status\/[\w.~=-]{1,1600}$/;
const here = signal(read());

export const path = computed(() => here.value.path);
export const query = computed(() => here.value.query);

function read() {
  const { pathname, search } = window.location;
  const params = new URLSearchParams(search);
  return { path: pathname.startsWith(BASE) ? pathname.slice(BASE.length).replace(/\/$/, "") : "", query: Object.fromEntries(params) };
}

/** The address of a view: segments are encoded, what is empty in the query is left out. */
export function to(segments, params = {}) {
  const place = BASE + [segments].flat().map(encodeURIComponent).join("/");
  const text = encode(params);
  return text ? `${place}?${text}` : place;
}

export function encode(params) {
  return new URLSearchParams(Object.entries(params).filter(([, value]) => value !== "" && value !== undefined && value !== null && value !== false)).toString();
}

export function go(url, { replace = false } = {}) {
  if (url === window.location.pathname + window.location.search) return;
  window.history[replace ? "replaceState" : "pushState"](null, "", url);
  const before = here.value.path;
  here.value = read();
  if (here.value.path !== before) window.scrollTo(0, 0);
}

/** Change parts of the query; a change of a filter leads back to the first page. */
export function setQuery(changes, { replace = false, keepCursor = false } = {}) {
  const next = { ...here.value.query, ...changes };
  if (!keepCursor && !("cursor" in changes)) delete next.cursor;
  const text = encode(next);
  go(window.location.pathname + (text ? `?${text}` : ""), { replace });
}

/** The first route that matches: ``[pattern, page, name]``, with ``:name`` for a segment. */
export function match(routes, of) {
  const given = of === "" ? [] : of.split("/");
  for (const [pattern, page, name] of routes) {
    const wanted = pattern === "" ? [] : pattern.split("/");
    if (wanted.length !== given.length) continue;
    const found = {};
    if (wanted.every((part, i) => (part.startsWith(":") ? ((found[part.slice(1)] = decode(given[i])), true) : part === given[i]))) {
      return { page, params: found, pattern, name };
    }
  }
  return null;
}

function decode(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

window.addEventListener("popstate", () => (here.value = read()));
document.addEventListener("click", (event) => {
  if (event.defaultPrevented || event.button || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
  const link = event.target.closest?.("a[href]");
  if (!link || link.target || link.origin !== window.location.origin || !link.pathname.startsWith(BASE) || link.hash) return;
  event.preventDefault();
  link.closest("dialog")?.close();
  go(link.pathname + link.search);
});
