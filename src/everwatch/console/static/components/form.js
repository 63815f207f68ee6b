// Fields and buttons of forms, and filters.
import { html, useEffect, useRef, useState } from "../app/html.js";
import { useSettled } from "../app/load.js";
import { Icon } from "./icon.js";

let ids = 0;

/** A field with its label. ``children`` gets the id. */
export function Field({ label, hint, wrong, children }) {
  const id = useRef(null);
  id.current ??= `field-${(ids += 1)}`;
  return html`<div class="field">
    <label for=${id.current}>${label}</label>
    ${children(id.current)}
    ${wrong ? html`<span class="wrong" role="alert">${wrong}</span>` : hint && html`<span class="hint">${hint}</span>`}
  </div>`;
}

/** A search field that sets its value once typing stops for a moment. ``main``: the key / leads here. */
export function Search({ value, set, label, main = false }) {
  const [text, setText] = useState(value);
  const settled = useSettled(text, 180);
  const sent = useRef(value);
  useEffect(() => {
    if (settled !== sent.current) {
      sent.current = settled;
      set(settled);
    }
  }, [settled]);
  useEffect(() => {
    if (value !== sent.current) {
      sent.current = value;
      setText(value);
    }
  }, [value]);
  return html`<span class="with-icon search"><${Icon} name="search" size="14" />
    <input class="input" type="search" value=${text} placeholder=${label} aria-label=${label} autocomplete="off" spellcheck=${false} maxLength="128" data-search=${main ? "" : undefined} onInput=${(event) => setText(event.target.value)} />
  </span>`;
}

/** One of several, as a drop-down. ``options``: pairs of value and label; "" is none. */
export function Choice({ label, value, options, set }) {
  return html`<select class=${`select${value ? " set" : ""}`} aria-label=${label} value=${value} onChange=${(event) => set(event.target.value)}>
    ${options.map(([each, text]) => html`<option key=${each} value=${each} selected=${each === value}>${text}</option>`)}
  </select>`;
}

/** One of a few, side by side. ``options``: triples of value, label and count. */
export function Segments({ label, value, options, set }) {
  return html`<div class="segments" role="group" aria-label=${label}>
    ${options.map(([each, text, n]) => html`<button key=${each} type="button" aria-pressed=${each === value} onClick=${() => set(each)}>${text}${n !== undefined && html`<span class="count">${n}</span>`}</button>`)}
  </div>`;
}

/** A button that is busy while what it does is under way. */
export function Action({ act, icon, children, look = "", disabled = false, title }) {
  const [busy, setBusy] = useState(false);
  const alive = useRef(true);
  useEffect(() => () => (alive.current = false), []);
  const run = async () => {
    setBusy(true);
    try {
      await act();
    } finally {
      if (alive.current) setBusy(false);
    }
  };
  return html`<button class=${`button ${look}`} type="button" disabled=${disabled || busy} aria-busy=${busy} title=${title} onClick=${run}>${icon && html`<${Icon} name=${icon} size="14" />`}${children}</button>`;
}
