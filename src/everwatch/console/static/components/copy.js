// Text to take along, with a button that copies it.
import { html, useState } from "../app/html.js";

const SAID_MS = 1_500;

export function Copy({ text, label = "Copy" }) {
  const [done, setDone] = useState(false);
  const copy = async () => {
    await navigator.clipboard.writeText(text);
    setDone(true);
    setTimeout(() => setDone(false), SAID_MS);
  };
  return html`<span class="copy"><code class="clip" title=${text}>${text}</code>${navigator.clipboard && html`<button class="button" type="button" aria-label=${label} onClick=${copy}>${done ? "Copied" : "Copy"}</button>`}</span>`;
}
