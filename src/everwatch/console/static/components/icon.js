// Icons: 16 px, one stroke. Every one has its own shape, so that none depends on its colour.
import { html } from "../app/html.js";

const PATHS = {
  up: html`<circle cx="8" cy="8" r="6" /><path d="m5.4 8.2 1.8 1.8 3.4-3.8" />`,
  down: html`<path d="M5.6 2h4.8L14 5.6v4.8L10.4 14H5.6L2 10.4V5.6z" /><path d="m6 6 4 4m0-4-4 4" />`,
  late: html`<circle cx="8" cy="8" r="6" /><path d="M8 4.8V8l2.2 1.6" />`,
  paused: html`<circle cx="8" cy="8" r="6" /><path d="M6.6 6v4m2.8-4v4" />`,
  new: html`<circle cx="8" cy="8" r="6" stroke-dasharray="2.2 2.5" />`,
  flapping: html`<path d="M2 8h2l1.8-4.5L8.4 12.5 10.6 3.5 12 8h2" />`,
  done: html`<path d="m3 8.4 3.2 3.2L13 4.8" />`,
  skipped: html`<circle cx="8" cy="8" r="6" /><path d="m4 12 8-8" />`,
  overview: html`<path d="M2.5 9h2.6l1.7-4.5 2.6 7L11 9h2.5" />`,
  monitors: html`<path d="M2.5 4h11m-11 4h11m-11 4h7" />`,
  users: html`<circle cx="8" cy="5.4" r="2.6" /><path d="M3 13.5c.5-2.6 2.4-4 5-4s4.5 1.4 5 4" />`,
  tasks: html`<rect x="2.5" y="3.5" width="11" height="10" rx="1.5" /><path d="M2.5 6.5h11M5.5 2v3m5-3v3" />`,
  changes: html`<path d="M5 2.5v11m0 0L2.5 11M5 13.5 7.5 11M11 13.5v-11m0 0L8.5 5M11 2.5 13.5 5" />`,
  partitions: html`<rect x="2.5" y="2.5" width="11" height="3" rx="1" /><rect x="2.5" y="6.5" width="11" height="3" rx="1" /><rect x="2.5" y="10.5" width="11" height="3" rx="1" />`,
  live: html`<circle cx="8" cy="8" r="1.6" /><path d="M4.5 11.5a5 5 0 0 1 0-7m7 0a5 5 0 0 1 0 7" />`,
  letters: html`<rect x="2" y="3.5" width="12" height="9" rx="1.5" /><path d="m2.5 5 5.5 4 5.5-4" />`,
  incidents: html`<path d="M8 2.5 14 13H2zM8 6.5v3m0 1.7v.1" />`,
  bell: html`<path d="M3.5 11.5h9L11.5 10V7a3.5 3.5 0 0 0-7 0v3zM6.5 13.5h3" />`,
  routes: html`<circle cx="3.8" cy="8" r="1.8" /><path d="M5.6 8h2.2c2.4 0 1.4-4 3.8-4h2m0 0-2-1.8m2 1.8-2 1.8M7.8 8c2.4 0 1.4 4 3.8 4h2m0 0-2-1.8m2 1.8-2 1.8" />`,
  audit: html`<path d="M4 2.5h6l2.5 2.5v8.5H4zM6.5 7.5h4m-4 2.5h4" />`,
  status: html`<rect x="2.5" y="3" width="11" height="10" rx="1.5" /><path d="M5 6h6M5 10v-1m2 1v-1m2 1v-1m2 1v-1" />`,
  search: html`<circle cx="7" cy="7" r="4.5" /><path d="m10.5 10.5 3 3" />`,
  play: html`<path d="M5 3.5v9l7-4.5z" />`,
  pause: html`<path d="M5.5 3.5v9m5-9v9" />`,
  edit: html`<path d="m3 13 .6-2.7L10.5 3.5l2 2-6.9 6.9z" />`,
  remove: html`<path d="M3 4.5h10M6 4.5v-1.5h4v1.5m-5.5 0 .5 9h6l.5-9" />`,
  upload: html`<path d="M8 10.5V3m0 0L5 6m3-3 3 3M3 10.5V13h10v-2.5" />`,
  plus: html`<path d="M8 3.5v9M3.5 8h9" />`,
  close: html`<path d="m4 4 8 8m0-8-8 8" />`,
  menu: html`<path d="M2.5 4.5h11m-11 3.5h11m-11 3.5h11" />`,
  sun: html`<circle cx="8" cy="8" r="2.8" /><path d="M8 1.5v1.5m0 10v1.5M1.5 8h1.5m10 0h1.5M3.4 3.4l1 1m7.2 7.2 1 1m0-9.2-1 1m-7.2 7.2-1 1" />`,
  moon: html`<path d="M13 9.5A5.5 5.5 0 0 1 6.5 3a5.5 5.5 0 1 0 6.5 6.5z" />`,
  auto: html`<circle cx="8" cy="8" r="5.5" /><path d="M8 2.5v11a5.5 5.5 0 0 0 0-11z" fill="currentColor" />`,
  info: html`<circle cx="8" cy="8" r="6" /><path d="M8 7.5v3.5m0-6v.1" />`,
  key: html`<circle cx="5.5" cy="8" r="2.8" /><path d="M8.3 8h5.2v2.5M11 8v2" />`,
  tool: html`<path d="M9.8 3.2a3 3 0 0 0-3.6 4L2.8 10.6v2.6h2.6l3.4-3.4a3 3 0 0 0 4-3.6L10.8 8.2 9 7.8l-.4-1.8z" />`,
  out: html`<path d="M9.5 5V3H3v10h6.5v-2M6.5 8h7m0 0L11 5.5M13.5 8 11 10.5" />`,
};

export function Icon({ name, size = 16 }) {
  return html`<svg width=${size} height=${size} viewBox="0 0 16 16" fill="none" stroke="currentColor" stroke-width="1.5" stroke-linecap="round" stroke-linejoin="round" aria-hidden="true">${PATHS[name] ?? PATHS.info}</svg>`;
}

export const Mark = () => html`<svg width="20" height="20" viewBox="0 0 16 16" aria-hidden="true"><rect width="16" height="16" rx="4" /><path d="M3 8.5h2.4L7 4.5l2.4 7 1.5-3H13" fill="none" stroke-width="1.6" stroke-linecap="round" stroke-linejoin="round" /></svg>`;
