// Users: found by a part of their id, by plan, and by what state one of their monitors is in.
import { html } from "../app/html.js";
import { counts } from "../app/counts.js";
import { useGet } from "../app/load.js";
import { compact, count } from "../app/format.js";
import { query, setQuery, to } from "../app/router.js";
import { Shares } from "../components/bar.js";
import { Choice, Search } from "../components/form.js";
import { Empty, Loaded } from "../components/notice.js";
import { State, STATES, wordOf } from "../components/state.js";
import { Pager, Table } from "../components/table.js";
import { Instant } from "../components/time.js";

const PAGE = 50;
// what has not run yet is no worse than what is up
const WORST_FIRST = ["down", "late", "up", "new", "paused", "done"];

/** How many there are of those that fit, as far as that is known. */
function fitting(data, cursor) {
  if (data?.total !== undefined) return `${data.total_at_least ? "at least " : ""}${count(data.total)}`;
  return data && !data.next && !cursor ? count(data.items.length) : "some";
}

export function Users() {
  const { q = "", plan = "", state = "", target = "", sort = "", reverse = "", cursor = "" } = query.value;
  const list = useGet("/v1/users", { q, plan, state, target, sort, reverse, cursor, limit: PAGE, total: Boolean(target) });
  const plans = Object.entries(counts.value?.users ?? {}).sort();
  return html`
    <div class="page-head"><h1>Users</h1>${counts.value && html`<span class="sub">${q || plan || state || target ? `${fitting(list.data, cursor)} of ` : ""}${count(plans.reduce((sum, [, n]) => sum + n, 0))}</span>`}</div>
    <div class="filters">
      <${Search} main value=${q} set=${(text) => setQuery({ q: text }, { replace: true })} label="Part of the id" />
      <${Choice} label="Plan" value=${plan} set=${(each) => setQuery({ plan: each })} options=${[["", "Any plan"], ...plans.map(([name, n]) => [name, `${name} (${compact(n)})`])]} />
      <${Choice} label="With a monitor that is" value=${state} set=${(each) => setQuery({ state: each })} options=${[["", "Any state"], ...STATES.map((each) => [each, `With one ${wordOf(each).toLowerCase()}`])]} />
      <${Choice} label="Order" value=${sort} set=${(each) => setQuery({ sort: each })} options=${[["", "By id"], ["changed", "Latest change"]]} />
      ${target && html`<button class="tag" type="button" onClick=${() => setQuery({ target: "" })}>target ${target} ×</button>`}
    </div>
    <section class="panel" aria-label="Users"><${Loaded} of=${list} lines="10">${({ items, next }) => items.length === 0 && !cursor
      ? html`<${Empty} title="No user fits" icon="search">Clear a filter, or search for another part of the id.</${Empty}>`
      : html`<${Table} label="Users" rows=${items} keyOf=${(each) => each.user_id} keyboard tall href=${(each) => to(["users", each.user_id])} columns=${[
          { id: "user", label: "User", cell: (each) => html`<span class="two"><a class="name" href=${to(["users", each.user_id])}>${each.attributes.name ?? each.user_id}</a><span class="small faint">${[each.attributes.name && each.user_id, each.attributes.city, each.attributes.email].filter(Boolean).join(" · ")}</span></span>` },
          { id: "plan", label: "Plan", width: "w-m", narrow: false, cell: (each) => each.plan },
          { id: "worst", label: "Worst", width: "w-icon", cell: (each) => { const worst = WORST_FIRST.find((one) => each.monitors[one]); return worst ? html`<${State} state=${worst} />` : html`<span class="faint">–</span>`; } },
          { id: "monitors", label: "Monitors", width: "w-m", narrow: false, cell: (each) => html`<span class="two"><span>${count(Object.values(each.monitors).reduce((sum, n) => sum + n, 0))}</span><${Shares} counts=${each.monitors} /></span>` },
          { id: "since", label: "Signed up", width: "w-m", wide: true, narrow: false, num: true, cell: (each) => html`<span class="muted"><${Instant} ms=${each.registered_at} /></span>` },
        ]} /><${Pager} shown=${items.length} cursor=${cursor} next=${next} setQuery=${setQuery} what=${items.length === 1 ? "user" : "users"} />`}</${Loaded}></section>`;
}
