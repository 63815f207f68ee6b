// The table: columns, rows, a cursor for the keyboard (j, k, Enter), and a selection (x, Shift-click).
import { html, useLayoutEffect, useRef, useState } from "../app/html.js";
import { go } from "../app/router.js";
import { pageKeys } from "../app/keys.js";

/**
 * ``columns``: ``{id, label, cell, width, num, narrow: false, wrap}``; ``narrow`` false: not on a phone.
 * ``href``: where a row leads; ``selection``: ``{has, toggle, set}``; ``changed``: keys of rows that just changed. ``keyboard``: whether j and k move in this table.
 */
export function Table({ label, columns, rows, keyOf, href, selection, changed, keyboard = false, tall = false }) {
  const [at, setAt] = useState(-1);
  const frame = useRef(null);
  const last = useRef(-1);
  const picked = useRef(false);
  const shown = columns.filter(Boolean);
  // on a phone other columns are at the edges
  const onPhone = shown.filter((column) => column.narrow !== false);
  const classes = (column) => [!selection && column === onPhone[0] ? "lead" : "", column === onPhone.at(-1) ? "tail" : "", column.num ? "num" : "", column.narrow === false ? "not-narrow" : "", column.wide ? "wide-only" : "", column.width ?? "", column.wrap ? "let-wrap" : ""].join(" ").trim();

  useLayoutEffect(() => setAt((before) => Math.min(before, rows.length - 1)), [rows.length]);
  // before the next key: an effect after the paint would answer it with the cursor of the key before
  useLayoutEffect(() => {
    if (!keyboard) return undefined;
    const move = (step) => () => setAt((before) => {
      const next = Math.max(0, Math.min(rows.length - 1, before + step));
      frame.current?.querySelectorAll("tbody tr")[next]?.scrollIntoView({ block: "nearest" });
      return next;
    });
    const own = {
      j: move(1),
      k: move(-1),
      Enter: (event) => {
        if (at < 0 || !href || !rows[at] || event.target.closest?.("a, button")) return false;
        go(href(rows[at]));
        return true;
      },
      x: () => {
        if (at < 0 || !selection) return false;
        picked.current = true;
        selection.toggle(keyOf(rows[at]));
        return true;
      },
    };
    for (const [key, act] of Object.entries(own)) pageKeys.set(key, act);
    return () => Object.keys(own).forEach((key) => pageKeys.delete(key));
  });

  useLayoutEffect(() => {
    if (picked.current) tabTo(frame.current.closest("section")?.querySelector(".bulk"));
    picked.current = false;
  }, [selection?.keys]);

  const choose = (index) => (event) => {
    const key = keyOf(rows[index]);
    if (event.shiftKey && last.current >= 0) {
      const [from, until] = [Math.min(last.current, index), Math.max(last.current, index)];
      selection.set(rows.slice(from, until + 1).map(keyOf), event.target.checked);
    } else selection.toggle(key);
    last.current = index;
  };
  const all = selection && rows.length > 0 && rows.every((row) => selection.has(keyOf(row)));

  return html`<div class="table-frame" ref=${frame}>
    <table class=${`table${tall ? " tall" : ""}`} aria-label=${label}>
      <thead><tr>
        ${selection && html`<td class="w-check"><input class="check" type="checkbox" aria-label="Select this page" checked=${all} onChange=${(event) => selection.set(rows.map(keyOf), event.target.checked)} /></td>`}
        ${shown.map((column) => (column.label ? html`<th key=${column.id} scope="col" class=${classes(column)}>${column.label}</th>` : html`<td key=${column.id} class=${classes(column)}></td>`))}
      </tr></thead>
      <tbody>
        ${rows.map((row, index) => {
          const key = keyOf(row);
          const look = [index === at ? "at" : "", selection?.has(key) ? "chosen" : "", changed?.has(key) ? "changed" : ""].join(" ").trim();
          return html`<tr key=${key} class=${look || undefined}>
            ${selection && html`<td class="w-check"><input class="check" type="checkbox" aria-label=${`Select ${key.replace("\n", " ")}`} checked=${selection.has(key)} onClick=${choose(index)} /></td>`}
            ${shown.map((column) => html`<td key=${column.id} class=${classes(column)}>${column.cell(row)}</td>`)}
          </tr>`;
        })}
      </tbody>
    </table>
  </div>`;
}

/** Let Tab go on from an element: of a selection made by keys, what can be done with it is not behind all the rows. */
function tabTo(element) {
  if (!element) return;
  element.tabIndex = -1;
  element.focus({ preventScroll: true });
  element.blur();
}

/** First and next page of a list with cursors. The page before is the browser's way back. */
export function Pager({ shown, cursor, next, setQuery, what }) {
  return html`<nav class="pager" aria-label="Pages">
    <span>${shown} ${what}${next || cursor ? " on this page" : ""}</span>
    <div class="end">
      ${cursor && html`<button class="button" type="button" onClick=${() => setQuery({ cursor: "" })}>First page</button>`}
      ${cursor && html`<button class="button" type="button" onClick=${() => history.back()}>Back</button>`}
      ${(next || cursor) && html`<button class="button" type="button" disabled=${!next} onClick=${() => setQuery({ cursor: next }, { keepCursor: true })}>Next page</button>`}
    </div>
  </nav>`;
}

/** The keys that are selected, for as long as the list is the same. */
export function useSelection(list) {
  const [state, setState] = useState({ list, keys: new Set() });
  const keys = state.list === list ? state.keys : new Set();
  const change = (act) => setState((before) => {
    const next = new Set(before.list === list ? before.keys : []);
    act(next);
    return { list, keys: next };
  });
  return {
    keys,
    has: (key) => keys.has(key),
    toggle: (key) => change((next) => (next.has(key) ? next.delete(key) : next.add(key))),
    set: (some, on) => change((next) => some.forEach((key) => (on ? next.add(key) : next.delete(key)))),
    clear: () => change((next) => next.clear()),
  };
}
