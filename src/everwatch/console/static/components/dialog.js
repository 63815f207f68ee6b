// Dialogs: the browser's own, so that focus stays inside and Escape closes them.
import { html, signal, useLayoutEffect, useRef, useState } from "../app/html.js";
import { Failure } from "./notice.js";

const asked = signal(null);

/** Show a dialog: ``{title, body, action, danger, wide, submit}``. ``body`` is a component that gets ``{values}``; an error of ``submit`` is shown. */
export const ask = (what) => (asked.value = what);

export function Dialogs() {
  return asked.value && html`<${Dialog} key=${asked.value.title} ...${asked.value} close=${() => (asked.value = null)} />`;
}

function Dialog({ title, body: Body, action, danger, wide, submit, close, given = {} }) {
  const element = useRef(null);
  const values = useRef({ ...given });
  const [error, setError] = useState(null);
  const [busy, setBusy] = useState(false);
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
  return html`<dialog class=${`dialog${wide ? " wide" : ""}`} ref=${element} aria-label=${title} onClose=${close}>
    <form method="dialog" onSubmit=${send}>
      <h2>${title}</h2>
      <${Body} values=${values.current} />
      ${error && html`<${Failure} error=${error} />`}
      <div class="foot">
        <button class="button" type="button" onClick=${() => element.current.close()}>Cancel</button>
        <button class=${`button primary${danger ? " danger" : ""}`} type="submit" disabled=${busy}>${action}</button>
      </div>
    </form>
  </dialog>`;
}
