// Dialogs: the browser's own, so that focus stays inside and Escape closes them.
import { html, signal, useLayoutEffect, useRef, useState } from "../app/html.js";
import { Icon } from "./icon.js";
import { Failure } from "./notice.js";

const asked = signal(null);

/**
 * Show a dialog: ``{title, body, action, danger, wide, submit, attempt}``. ``body`` is a component that gets ``{values}``; an error of ``submit`` is shown.
 * ``attempt``: ``{label, act}``, a second button that changes nothing: what ``act`` gives is shown in the dialog, which stays open.
 */
export const ask = (what) => (asked.value = what);

export function Dialogs() {
  return asked.value && html`<${Dialog} key=${asked.value.title} ...${asked.value} close=${() => (asked.value = null)} />`;
}

function Dialog({ title, body: Body, action, danger, wide, submit, attempt, close, given = {} }) {
  const element = useRef(null);
  const values = useRef({ ...given });
  const [error, setError] = useState(null);
  const [busy, setBusy] = useState(false);
  const [shown, setShown] = useState(null);
  useLayoutEffect(() => element.current.showModal(), []);
  const send = async (event) => {
    event.preventDefault();
    setBusy(true);
    setError(null);
    try {
      await submit(values.current);
      element.current.close();
    } catch (failure) {
      setError(failure);
      setBusy(false);
    }
  };
  const look = async () => {
    setBusy(true);
    setError(null);
    setShown(null);
    try {
      setShown(await attempt.act(values.current));
    } catch (failure) {
      setError(failure);
    }
    setBusy(false);
  };
  return html`<dialog class=${`dialog${wide ? " wide" : ""}`} ref=${element} aria-label=${title} onClose=${close}>
    <form method="dialog" onSubmit=${send}>
      <h2>${title}</h2>
      <${Body} values=${values.current} />
      <div aria-live="polite">${shown}</div>
      ${error && html`<${Failure} error=${error} />`}
      <div class="foot">
        ${attempt && html`<button class="button first" type="button" disabled=${busy} aria-busy=${busy} onClick=${look}><${Icon} name="play" size="14" />${attempt.label}</button>`}
        <button class="button" type="button" onClick=${() => element.current.close()}>Cancel</button>
        <button class=${`button primary${danger ? " danger" : ""}`} type="submit" disabled=${busy}>${action}</button>
      </div>
    </form>
  </dialog>`;
}
