// Who has seen an incident, or wants no alert of it for a while.
import { html } from "../app/html.js";
import { now } from "../app/format.js";
import { Instant } from "./time.js";

export const isSnoozed = (ack) => Boolean(ack) && ack.snoozed_until > now.value;

/** ``{acked_by, acked_at, snoozed_until}`` as a sentence part; ``none``: what stands there where there is nothing. */
export function Ack({ ack, none = null }) {
  if (!ack) return none;
  const by = ack.acked_by ? ` by ${ack.acked_by}` : "";
  return isSnoozed(ack) ? html`<span class="tag" title=${`snoozed${by}`}>snoozed until <${Instant} ms=${ack.snoozed_until} />${by}</span>` : html`<span class="tag" title=${`acknowledged${by}`}>acknowledged${by}</span>`;
}
