// JSON as text, with names, texts and numbers told apart, and one place marked as wrong.
import { html } from "../app/html.js";

const TOKEN = /("(?:\\.|[^"\\])*")(\s*:)?|\b(?:true|false|null)\b|-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?/g;

export function Json({ value, label = "As JSON" }) {
  const text = typeof value === "string" ? value : JSON.stringify(value, null, 2);
  const parts = [];
  let end = 0;
  for (const match of text.matchAll(TOKEN)) {
    parts.push(text.slice(end, match.index));
    if (match[2]) parts.push(html`<span class="k">${match[1]}</span>`, match[2]);
    else parts.push(html`<span class=${match[1] ? "s" : "n"}>${match[0]}</span>`);
    end = match.index + match[0].length;
  }
  parts.push(text.slice(end));
  return html`<pre class="json" tabIndex="0" role="region" aria-label=${label}>${parts}</pre>`;
}
