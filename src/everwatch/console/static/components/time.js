// An instant, as text that a pointer or a screen reader can ask for in full.
import { html } from "../app/html.js";
import { ago, brief, DAY, full, instant, nextRun, now } from "../app/format.js";

const iso = (ms) => new Date(ms).toISOString();

/** "14:02:31" or "27 Nov 14:02". */
export function Instant({ ms }) {
  return ms ? html`<time dateTime=${iso(ms)} title=${full(ms)} class="nowrap">${instant(ms)}</time>` : html`<span class="faint">–</span>`;
}

/** "3 min ago", "in 12 s". */
export function Ago({ ms, suffix = true }) {
  if (!ms) return html`<span class="faint">–</span>`;
  const past = now.value - ms;
  const text = past >= 0 ? (suffix ? ago(past) : brief(past)) : `in ${brief(-past + 999)}`;
  return html`<time dateTime=${iso(ms)} title=${full(ms)} class="nowrap">${text}</time>`;
}

// a month: as long as people need to renew one by hand
const RENEW_WITHIN_MS = 30 * DAY;

/** "12 d left": for how long a certificate is valid still. */
export function CertificateLeft({ end }) {
  const left = end - now.value;
  const text = left >= 0 ? `${brief(left)} left` : `expired ${ago(-left)}`;
  return html`<time dateTime=${iso(end)} title=${full(end)} class=${left < 0 ? "bad" : left < RENEW_WITHIN_MS ? "warn" : ""}>${text}</time>`;
}

/** "in 12 s", until a monitor runs next. */
export const NextRun = ({ monitor }) => html`<${Ago} ms=${nextRun(monitor)} />`;
