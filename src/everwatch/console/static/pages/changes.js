// Changes of state of all monitors: what happened, when, why, and whether anybody was to be told.
import { html } from "../app/html.js";
import { useGet, useThrottled } from "../app/load.js";
import { ONLY_TRANSITIONS, useLive } from "../app/live.js";
import { duration } from "../app/format.js";
import { query, setQuery, to } from "../app/router.js";
import { Choice, Search, Segments } from "../components/form.js";
import { Empty, Loaded } from "../components/notice.js";
import { State, STATES, wordOf } from "../components/state.js";
import { Pager, Table } from "../components/table.js";
import { Instant } from "../components/time.js";
import { Views } from "../components/views.js";
import { UserFilter } from "../components/user-filter.js";

const PAGE = 50;
const RANGES = [["", "Any time"], ["1", "Last hour"], ["24", "Last day"], ["168", "Last week"]];

export function Changes() {
  const { state = "", user = "", target = "", kind = "", plan = "", alerts = "", hours = "", cursor = "" } = query.value;
  // whole minutes, so that a page and its cursor belong to one list
  const since = hours ? Math.floor(Date.now() / 60_000 - Number(hours) * 60) * 60_000 : "";
  const list = useGet("/v1/transitions", { state, user, target, kind, plan, alerts, since: cursor ? query.value.since : since, cursor, limit: PAGE });
  const soon = useThrottled(list.reload, 2_000);
  useLive(ONLY_TRANSITIONS, () => !cursor && soon());
  return html`
    <div class="page-head"><h1>Changes</h1><span class="sub">of state, the latest first</span></div>
    <${Segments} label="Into state" value=${state} set=${(each) => setQuery({ state: each })} options=${[["", "All"], ...STATES.map((each) => [each, wordOf(each)])]} />
    <div class="filters">
      <${UserFilter} value=${user} set=${(each) => setQuery({ user: each }, { replace: true })} />
      <${Search} value=${target} set=${(each) => setQuery({ target: each }, { replace: true })} label="Target (the host)" />
      <${Choice} label="Time" value=${hours} set=${(each) => setQuery({ hours: each })} options=${RANGES} />
      <${Choice} label="Alerts" value=${alerts} set=${(each) => setQuery({ alerts: each })} options=${[["", "All changes"], ["true", "Only alerts"]]} />
      <${Views} page="changes" />
    </div>
    <section class="panel" aria-label="Changes"><${Loaded} of=${list} lines="10">${({ items, next }) => items.length === 0 && !cursor
      ? html`<${Empty} title="Nothing changed" icon="changes">No change of state fits these filters.</${Empty}>`
      : html`<${Table} label="Changes of state" rows=${items} keyOf=${(each) => `${each.user_id}\n${each.monitor_id}\n${each.at}\n${each.to_state}`} keyboard tall href=${(each) => to(["users", each.user_id, "monitors", each.monitor_id])} columns=${[
          { id: "at", label: "At", width: "w-m", narrow: false, cell: (each) => html`<span class="muted"><${Instant} ms=${each.at} /></span>` },
          { id: "into", label: "Into", width: "w-icon", cell: (each) => html`<${State} state=${each.to_state} outcome=${each.outcome} />` },
          { id: "monitor", label: "Monitor", width: "w-l", narrow: false, cell: (each) => html`<span class="two"><a class="name" href=${to(["users", each.user_id, "monitors", each.monitor_id])}>${each.monitor_id}</a><a class="small faint" href=${to(["users", each.user_id])}>${each.user_id}</a></span>` },
          { id: "why", label: "Why", cell: (each) => html`<span class="two"><span class="narrow-only"><a class="name" href=${to(["users", each.user_id, "monitors", each.monitor_id])}>${each.monitor_id}</a> <span class="small faint">${each.user_id}</span></span>${each.reason && html`<a href=${to(["users", each.user_id, "monitors", each.monitor_id])} title=${each.reason}>${each.reason}</a>`}<span class=${each.reason ? "small faint not-narrow" : "muted"}>${each.reminder ? "reminder" : `was ${wordOf(each.from_state).toLowerCase()}${each.lasted_ms ? ` for ${duration(each.lasted_ms)}` : ""}`}</span></span>` },
          { id: "target", label: "Target", width: "w-xl", narrow: false, wide: true, cell: (each) => each.target && html`<a href=${to(["monitors"], { target: each.target })} title="Monitors of this target">${each.target}</a>` },
          { id: "alert", label: "Alert", width: "w-s", narrow: false, num: true, cell: (each) => (each.alert ? "yes" : html`<span class="faint">no</span>`) },
        ]} /><${Pager} shown=${items.length} cursor=${cursor} next=${next} setQuery=${(changes, options) => setQuery({ ...changes, since: changes.cursor ? since || query.value.since : "" }, options)} what=${items.length === 1 ? "change" : "changes"} />`}</${Loaded}></section>`;
}
