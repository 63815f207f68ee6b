// Short messages on what became of an action.
import { html, signal } from "../app/html.js";
import { Icon } from "./icon.js";

const SHOWN_MS = 6_000;
const shown = signal([]);
let last = 0;

export function toast(text, { bad = false } = {}) {
  const id = (last += 1);
  shown.value = [...shown.value.slice(-3), { id, text, bad }];
  setTimeout(() => drop(id), bad ? SHOWN_MS * 2 : SHOWN_MS);
}

const drop = (id) => (shown.value = shown.value.filter((each) => each.id !== id));

/** Run an action and say what became of it. Returns whether it was done. */
export async function told(done, act) {
  try {
    const answer = await act();
    toast(answer?.status === 202 ? "It is kept; no worker has answered yet." : done);
    return true;
  } catch (error) {
    toast(error.message, { bad: true });
    return false;
  }
}

export function Toasts() {
  return html`<div class="toasts" aria-live="polite">${shown.value.map(({ id, text, bad }) => html`<div key=${id} class=${`toast${bad ? " bad" : ""}`}>
    <${Icon} name=${bad ? "incidents" : "up"} size="16" /><span>${text}</span><button type="button" aria-label="Dismiss" onClick=${() => drop(id)}><${Icon} name="close" size="12" /></button>
  </div>`)}</div>`;
}
