// A titled box.
import { html, useRef } from "../app/html.js";

let ids = 0;

/** A titled box. ``aside``: at the right of the title. */
export function Panel({ title, aside, footer, edge = "", children, pad = false }) {
  const own = useRef("");
  const id = (own.current ||= `panel-${(ids += 1)}`);
  return html`<section class=${`panel ${edge ? `edge-${edge}` : ""}`} aria-labelledby=${title ? id : undefined}>
    ${title && html`<header><h2 id=${id}>${title}</h2>${aside && html`<div class="aside">${aside}</div>`}</header>`}
    ${pad ? html`<div class="body">${children}</div>` : children}
    ${footer && html`<footer>${footer}</footer>`}
  </section>`;
}
