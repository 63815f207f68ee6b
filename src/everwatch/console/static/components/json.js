// JSON as text, with names, texts and numbers told apart, and one field marked as wrong.
import { html } from "../app/html.js";

const TOKEN = /("(?:\\.|[^"\\])*")(\s*:)?|\b(?:true|false|null)\b|-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?/g;

/** Text of a value by lines, and the numbers of those that are the field at ``path`` ("$.monitors[0].kind"). */
export function linesOf(value, path = "") {
  const lines = [];
  const wrong = new Set();
  const put = (text) => (lines.length ? (lines[lines.length - 1] += text) : lines.push(text));
  const add = (part, at, indent) => {
    const begin = Math.max(0, lines.length - 1);
    if (part === null || typeof part !== "object") put(JSON.stringify(part));
    else {
      const [open, shut] = Array.isArray(part) ? "[]" : "{}";
      const entries = Object.entries(part);
      put(open);
      entries.forEach(([name, inner], i) => {
        lines.push(`${indent}  ${Array.isArray(part) ? "" : `${JSON.stringify(name)}: `}`);
        add(inner, Array.isArray(part) ? `${at}[${name}]` : `${at}.${name}`, `${indent}  `);
        if (i < entries.length - 1) put(",");
      });
      if (entries.length) lines.push(indent + shut);
      else put(shut);
    }
    if (at === path) for (let line = begin; line < lines.length; line += 1) wrong.add(line);
  };
  add(value, "$", "");
  return { lines, wrong };
}

/** ``value``: what is shown, or its text; ``wrong``: the path of a field that is marked. */
export function Json({ value, label = "As JSON", wrong = "" }) {
  if (typeof value !== "string") {
    const found = linesOf(value, wrong);
    return html`<pre class="json" tabIndex="0" role="region" aria-label=${label}>${found.lines.map((line, i) => (found.wrong.has(i)
      ? html`<mark key=${i}>${coloured(line)}</mark>${"\n"}` : html`<span key=${i}>${coloured(line)}</span>${"\n"}`))}</pre>`;
  }
  return html`<pre class="json" tabIndex="0" role="region" aria-label=${label}>${coloured(value)}</pre>`;
}

function coloured(text) {
  const parts = [];
  let end = 0;
  for (const match of text.matchAll(TOKEN)) {
    parts.push(text.slice(end, match.index));
    if (match[2]) parts.push(html`<span class="k">${match[1]}</span>`, match[2]);
    else parts.push(html`<span class=${match[1] ? "s" : "n"}>${match[0]}</span>`);
    end = match.index + match[0].length;
  }
  parts.push(text.slice(end));
  return parts;
}
