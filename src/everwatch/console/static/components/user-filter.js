// A filter for one user: it takes the whole id, and offers the ids that have what was typed in them.
import { html } from "../app/html.js";
import { useGet } from "../app/load.js";
import { seesAll } from "../app/session.js";
import { Search } from "./form.js";

const MOST = 6;

export function UserFilter({ value, set, label = "User" }) {
  const found = useGet(value && seesAll.value ? "/v1/users" : null, { q: value, limit: MOST });
  const ids = (found.data?.items ?? []).map((each) => each.user_id);
  return html`<${Search} main value=${value} set=${set} label=${label} />
    ${value && ids.length > 0 && !ids.includes(value) && html`<span class="offers" role="group" aria-label="Users with this part">${ids.map((each) => html`<button key=${each} class="tag" type="button" onClick=${() => set(each)}>${each}</button>`)}</span>`}`;
}
