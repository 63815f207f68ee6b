// Which fields of a specification a change was about, before and after.
import { html } from "../app/html.js";

/** The fields of an entry of the audit log: ``[{path, before, after}]``; none where it changed none. */
export function changesOf(entry) {
  try {
    return entry.change ? JSON.parse(entry.change) : [];
  } catch {
    return [];
  }
}

const textOf = (value) => (typeof value === "string" ? value : JSON.stringify(value));

/** "schedule.every: 1m → 5m", for each field of an entry of the audit log, or of ``fields``. */
export function SpecChanges({ entry, fields = changesOf(entry) }) {
  return html`<ul class="diff">${fields.map(({ path, before, after }) => html`<li key=${path}><code>${path.replace(/^\$\.?/, "") || "all of it"}</code>
    ${before !== undefined && html`<del>${textOf(before)}</del>`}${before !== undefined && after !== undefined && html`<span class="faint" aria-hidden="true">→</span>`}${after !== undefined && html`<ins>${textOf(after)}</ins>`}</li>`)}</ul>`;
}
