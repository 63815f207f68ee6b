// Changes of state, the newest first, as a list.
import { html } from "../app/html.js";
import { wordOf } from "../components/state.js";
import { to } from "../app/router.js";
import { duration } from "../app/format.js";
import { State } from "../components/state.js";
import { Instant } from "../components/time.js";

export function Feed({ items, scroll = false, own = false, withUser = true }) {
  return html`<ol class=${`feed${scroll ? " scroll" : ""}`} tabIndex=${scroll ? 0 : undefined} aria-label="Changes of state">${items.map((each) => html`<li key=${`${each.user_id}\n${each.monitor_id}\n${each.at}\n${each.to_state}`} class=${each.isNew ? "is-new" : ""}>
    <span class="faint"><${Instant} ms=${each.at} /></span>
    <${State} state=${each.to_state} outcome=${each.outcome} />
    <span class="said">
      ${own ? html`<span>${each.reminder ? "still so" : `was ${wordOf(each.from_state).toLowerCase()}${each.lasted_ms ? ` for ${duration(each.lasted_ms)}` : ""}`}</span>`
        : html`<a href=${to(["users", each.user_id, "monitors", each.monitor_id])}><b>${each.monitor_id}</b> ${withUser && html`<span class="faint">${each.user_id}</span>`}</a>`}
      ${(each.reason || each.reminder) && html`<span class="faint reason" title=${each.reason}>${each.reminder && !own ? "still so: " : ""}${each.reason}</span>`}
    </span>
  </li>`)}</ol>`;
}
