// Incidents: what is down or late and was to be told, by target, the most monitors first.
import { html, useMemo } from "../app/html.js";
import { useGet, useThrottled } from "../app/load.js";
import { ONLY_TRANSITIONS, useLive } from "../app/live.js";
import { plural } from "../app/format.js";
import { query, setQuery, to } from "../app/router.js";
import { has, may, seesAll } from "../app/session.js";
import { acknowledge, snooze, withdraw } from "../app/incident-actions.js";
import { Ack } from "../components/ack.js";
import { Action, Search, Segments } from "../components/form.js";
import { Icon } from "../components/icon.js";
import { Banner, Empty, Loaded } from "../components/notice.js";
import { canSilence, NewSilence, Silences, useSilences } from "../components/silences.js";
import { shownOfIncident, State } from "../components/state.js";
import { Table, useSelection } from "../components/table.js";
import { Ago } from "../components/time.js";
import { UserFilter } from "../components/user-filter.js";

const MOST = 500;
const SHOWN_USERS = 3;

export function Incidents() {
  const { user = "", view = "", target = "" } = query.value;
  const list = useGet("/v1/incidents", { user, limit: MOST }, { every: 15_000 });
  const shared = useGet(seesAll.value && has("GET /v1/incidents/shared") ? "/v1/incidents/shared" : null, undefined, { every: 15_000 });
  const silences = useSilences();
  const soon = useThrottled(() => [list, shared].forEach((each) => each.reload()), 2_000);
  useLive(ONLY_TRANSITIONS, soon);
  const targets = useMemo(() => byTarget(ofTarget(list.data?.items ?? [], target)), [list.data, target]);
  return html`
    <div class="page-head"><h1>Incidents</h1>${canSilence() && html`<div class="end"><${NewSilence} done=${silences.reload} /></div>`}</div>
    <div class="filters">
      <${Segments} label="View" value=${view} set=${(each) => setQuery({ view: each })} options=${[["", "By target"], ["each", "Each incident"]]} />
      <${Search} value=${target} set=${(each) => setQuery({ target: each }, { replace: true })} label="Part of the target" />
      <${UserFilter} value=${user} set=${(each) => setQuery({ user: each }, { replace: true })} />
    </div>
    ${shared.data?.executors.map((each) => html`<${Banner} key=${each.executor} tone="bad" icon="incidents"><b>Executor ${each.executor}</b> did not reach ${each.percent} % of its targets for <${Ago} ms=${each.began_at} suffix=${false} />: the failures of ${plural(each.doubted, "monitor")} are in doubt. Look at its network first; users' alerts are held.</${Banner}>`)}
    ${shared.data?.targets.map((each) => html`<${Banner} key=${each.target} tone="warn" icon="incidents"><b>${each.target}</b> has failed for ${plural(each.failing, "monitor")} for <${Ago} ms=${each.opened_at} suffix=${false} />: operators got one alert for all of them. <a class="link" href=${to(["users"], { target: each.target })}>Which users does it hit?</a></${Banner}>`)}
    <section class="panel" aria-label="Incidents"><${Loaded} of=${list} lines="8">${({ available, reason, items }) => {
      if (available === false) return html`<${Empty} title="Incidents are not known" icon="bell">The API says: ${reason}. Start a notifier with <code>everwatch notifier</code>; it keeps them.</${Empty}>`;
      if (!items.length) return html`<${Empty} title="No incidents" icon="up">Nothing that was to be told is open${user ? " for this user" : ""}.</${Empty}>`;
      if (!targets.length) return html`<${Empty} title="No incident of such a target" icon="search">Search for another part, or clear the search.</${Empty}>`;
      return view === "each" ? html`<${Each} items=${ofTarget(items, target).sort((a, b) => b.opened_at - a.opened_at)} list=${`${user}\n${target}`} done=${list.reload} />` : html`<${Targets} rows=${targets} isPart=${Boolean(list.data.next)} done=${list.reload} />`;
    }}</${Loaded}></section>
    <${Silences} list=${silences} />`;
}

/** Those of targets that have a text in them; of a monitor without a target, in its id. */
const ofTarget = (items, text) => items.filter((each) => (each.target || `${each.user_id}/${each.monitor_id}`).toLowerCase().includes(text.toLowerCase()));

function byTarget(items) {
  const of = new Map();
  for (const each of items) {
    const key = each.target || `${each.user_id}/${each.monitor_id}`;
    const row = of.get(key) ?? { key, target: each.target, kinds: new Set(), users: new Set(), items: [], since: Infinity, state: "late", isFlapping: true };
    row.kinds.add(each.monitor_kind);
    row.users.add(each.user_id);
    row.items.push(each);
    row.since = Math.min(row.since, each.opened_at);
    if (each.phase !== "flapping") row.isFlapping = false;
    if (each.state === "down") row.state = "down";
    of.set(key, row);
  }
  return [...of.values()].sort((a, b) => b.items.length - a.items.length || a.since - b.since);
}

/** How many a target's outage hits, and who. */
function Hits({ row, isPart }) {
  const all = row.target ? to(["users"], { target: row.target }) : to(["users", row.items[0].user_id]);
  const some = [...row.users].slice(0, SHOWN_USERS);
  return html`<span class="two"><a href=${all} title="Users with a monitor of this target">${isPart && row.items.length > 1 ? "at least " : ""}${plural(row.users.size, "user")}, ${plural(row.items.length, "monitor")}</a>
    <span class="small faint" title=${[...row.users].join(", ")}>${some.map((user, i) => html`${i ? ", " : ""}<a key=${user} href=${to(["users", user])}>${user}</a>`)}${row.users.size > some.length ? ", …" : ""}</span></span>`;
}

const canAct = () => may("run") && has("POST /v1/users/{user_id}/monitors/{monitor_id}/ack");
const unseen = (items) => items.filter((each) => !each.ack);

function Targets({ rows, isPart, done }) {
  return html`<${Table} label="Incidents by target" rows=${rows} keyOf=${(row) => row.key} tall columns=${[
    { id: "state", label: "State", width: "w-icon", cell: (row) => html`<${State} state=${row.isFlapping ? "flapping" : row.state} />` },
    { id: "target", label: "Target", cell: (row) => html`<span class="two"><a class="name" href=${row.target ? to(["monitors"], { target: row.target }) : to(["users", row.items[0].user_id, "monitors", row.items[0].monitor_id])}>${row.key}</a><span class="small faint" title=${row.items[0].reason}><span class="narrow-only">${plural(row.users.size, "user")}, <${Ago} ms=${row.since} suffix=${false} />: </span>${row.items[0].reason}</span></span>` },
    { id: "hits", label: "Hits", width: "w-xl", narrow: false, cell: (row) => html`<${Hits} row=${row} isPart=${isPart} />` },
    { id: "kinds", label: "Kind", width: "w-m", narrow: false, wide: true, cell: (row) => [...row.kinds].join(", ") },
    { id: "since", label: "For", width: "w-s", num: true, narrow: false, cell: (row) => html`<${Ago} ms=${row.since} suffix=${false} />` },
    canAct() && { id: "act", label: "", width: "w-act-wide", num: true, cell: (row) => (unseen(row.items).length ? html`<${Action} icon="done" act=${() => acknowledge(unseen(row.items), done)} title="No reminders any more, and no escalation"><span class="unseen-narrow">Acknowledge</span></${Action}>` : html`<span class="row end small faint"><${Icon} name="done" size="14" /><span class="unseen-narrow">acknowledged</span></span>`) },
  ]} />`;
}

function Acts({ chosen, selection, done }) {
  const over = () => {
    selection.clear();
    done();
  };
  const seen = chosen.filter((each) => each.ack);
  return html`<div class="bulk" role="toolbar" aria-label="Selected incidents">
    <b>${chosen.length} selected</b>
    <${Action} icon="done" act=${() => acknowledge(chosen, over)}>Acknowledge</${Action}>
    <${Action} icon="late" act=${() => snooze(chosen, over)}>Snooze</${Action}>
    ${seen.length > 0 && html`<${Action} icon="skipped" act=${() => withdraw(seen, over)}>Take back</${Action}>`}
    <button class="button plain" type="button" onClick=${selection.clear}>Clear</button>
  </div>`;
}

function Each({ items, list, done }) {
  const selection = useSelection(list);
  const chosen = items.filter((each) => selection.has(each.incident_id));
  return html`${chosen.length > 0 && html`<${Acts} chosen=${chosen} selection=${selection} done=${done} />`}
  <${Table} label="Incidents" rows=${items} keyOf=${(each) => each.incident_id} tall keyboard selection=${canAct() ? selection : undefined} href=${(each) => to(["incidents", each.incident_id])} columns=${[
    { id: "state", label: "State", width: "w-icon", cell: (each) => html`<${State} state=${shownOfIncident(each)} />` },
    { id: "monitor", label: "Monitor", cell: (each) => html`<span class="two"><a class="name" href=${to(["incidents", each.incident_id])}>${each.monitor_id}</a><span class="small faint" title=${each.reason}><span class="narrow-only">${each.user_id} · </span>${each.reason}</span></span>` },
    { id: "user", label: "User", width: "w-user", narrow: false, cell: (each) => html`<a href=${to(["users", each.user_id])}>${each.user_id}</a>` },
    { id: "phase", label: "Phase", width: "w-s", narrow: false, cell: (each) => each.phase },
    { id: "severity", label: "Severity", width: "w-s", narrow: false, wide: true, cell: (each) => each.severity },
    { id: "seen", label: "Seen", width: "w-seen", narrow: false, cell: (each) => html`<${Ack} ack=${each.ack} none=${html`<span class="faint">no</span>`} />` },
    { id: "told", label: "Told", width: "w-xs", narrow: false, cell: (each) => (each.told ? "yes" : html`<span class="faint">no</span>`) },
    { id: "since", label: "For", width: "w-s", num: true, cell: (each) => html`<a href=${to(["incidents", each.incident_id])} title="What happened, and comments"><${Ago} ms=${each.opened_at} suffix=${false} /></a>` },
  ]} />`;
}
