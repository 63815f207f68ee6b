// Monitors of all users: facets, search, order, pages, and what can be done to those that are selected.
import { html, useMemo, useState } from "../app/html.js";
import { first, PAGE } from "../app/api.js";
import { counts } from "../app/counts.js";
import { useGet, useThrottled } from "../app/load.js";
import { ONLY_TRANSITIONS, useLive } from "../app/live.js";
import { briefSchedule, compact, schedule, targetOf } from "../app/format.js";
import { encode, query, setQuery, to } from "../app/router.js";
import { has, may } from "../app/session.js";
import { keyOf, pauseMany, removeMany, resumeMany, runMany } from "../app/monitor-actions.js";
import { beginJob, canRunJobs, filterOf } from "../app/job-actions.js";
import { Action, Choice, Search, Segments } from "../components/form.js";
import { MiniBar } from "../components/bar.js";
import { Empty, Loaded } from "../components/notice.js";
import { shownOfMonitor, State, STATES, wordOf } from "../components/state.js";
import { Pager, Table, useSelection } from "../components/table.js";
import { Ago, CertificateLeft, NextRun } from "../components/time.js";
import { Views } from "../components/views.js";

const FILTERS = ["state", "kind", "plan", "label", "target", "q", "user"];
const CHANGED_MS = 2_500;
const BARS = 24;
// bars stand where the page is wide; a phone loads them only for the certificates that come with them
const roomy = window.matchMedia("(min-width: 1101px)");

export function Monitors() {
  const given = query.value;
  return html`
    <div class="page-head"><h1>Monitors</h1>${canRunJobs() && html`<div class="end"><button class="button" type="button" title="Pause, resume, run or delete every monitor that these filters have" onClick=${() => beginJob(filterOf(Object.fromEntries(FILTERS.map((name) => [name, given[name]]))))}>Bulk job…</button></div>`}</div>
    <${Filters} given=${given} />
    <${MonitorList} filters=${Object.fromEntries(FILTERS.map((name) => [name, given[name]]))} order=${given} withUser />`;
}

function Filters({ given }) {
  const all = counts.value;
  const { states, kinds, plans } = useMemo(() => facets(all?.monitors ?? [], given), [all, given.state, given.kind, given.plan]);
  const number = (n) => (all && !given.q && !given.target && !given.label && !given.user ? compact(n ?? 0) : undefined);
  const options = (none, some, chosen) => [["", none], ...new Set([...Object.keys(some).sort(), ...(chosen ? [chosen] : [])])].map((each) => (Array.isArray(each) ? each : [each, number(some[each]) === undefined ? each : `${each} (${number(some[each])})`]));
  const active = FILTERS.some((name) => given[name]);
  return html`<div class="stack">
    <${Segments} label="State" value=${given.state ?? ""} set=${(state) => setQuery({ state, sort: state === "down" || state === "late" ? "state-since" : given.sort })}
      options=${[["", "All", number(Object.values(states).reduce((sum, n) => sum + n, 0))], ...STATES.map((state) => [state, wordOf(state), number(states[state])])]} />
    <div class="filters">
      <${Search} main value=${given.q ?? ""} set=${(q) => setQuery({ q }, { replace: true })} label="Id, name or target" />
      <${Choice} label="Kind" value=${given.kind ?? ""} set=${(kind) => setQuery({ kind })} options=${options("Any kind", kinds, given.kind)} />
      <${Choice} label="Plan" value=${given.plan ?? ""} set=${(plan) => setQuery({ plan })} options=${options("Any plan", plans, given.plan)} />
      <${Choice} label="Order" value=${given.sort ?? ""} set=${(sort) => setQuery({ sort, reverse: "" })} options=${[["", "By user"], ["state-since", "Latest change of state"], ["changed", "Latest edit"]]} />
      ${given.target && html`<button class="tag" type="button" onClick=${() => setQuery({ target: "" })}>target ${given.target} ×</button>`}
      ${given.label && html`<button class="tag" type="button" onClick=${() => setQuery({ label: "" })}>label ${given.label} ×</button>`}
      ${given.user && html`<button class="tag" type="button" onClick=${() => setQuery({ user: "" })}>user ${given.user} ×</button>`}
      ${active && html`<button class="button plain" type="button" onClick=${() => setQuery(Object.fromEntries(FILTERS.map((name) => [name, ""])))}>Clear</button>`}
      <${Views} page="monitors" />
    </div>
  </div>`;
}

/** The counts of each value of a facet, under what the other facets say. */
function facets(monitors, given) {
  const found = { states: {}, kinds: {}, plans: {} };
  const fits = (each, but) => ["state", "kind", "plan"].every((name) => name === but || !given[name] || each[name] === given[name]);
  for (const each of monitors) {
    for (const [facet, name] of [["states", "state"], ["kinds", "kind"], ["plans", "plan"]]) {
      if (fits(each, name)) found[facet][each[name]] = (found[facet][each[name]] ?? 0) + each.monitors;
    }
  }
  return found;
}

/** A list of monitors with its pages, its selection and its actions. ``filters``: as the API takes them; ``worstFirst``: where all are on one page. */
export function MonitorList({ filters, order = {}, withUser = false, worstFirst = false, empty }) {
  const { sort = "", reverse = "", cursor = "" } = order;
  const asked = { ...filters, sort, reverse, cursor, limit: PAGE };
  const list = useGet(first.monitors(asked));
  const isRoomy = roomy.matches || list.data?.items.some((each) => each.spec.kind === "tls");
  const pasts = useGet(isRoomy && has("GET /v1/timelines") ? "/v1/timelines" : null, { ...asked, bars: BARS }, { every: 120_000 });
  const past = useMemo(() => new Map((pasts.data?.items ?? []).map((each) => [keyOf(each), each])), [pasts.data]);
  const selection = useSelection(encode(asked));
  const [changed, setChanged] = useState(new Set());
  const soon = useThrottled(list.reload, 4_000);
  useLive(ONLY_TRANSITIONS, (kind, value) => {
    if (kind !== "transition" || value.reminder) return;
    const key = keyOf(value);
    if (list.data?.items.some((each) => keyOf(each) === key)) {
      list.patch((data) => ({ ...data, items: data.items.map((each) => (keyOf(each) === key ? { ...each, state: value.to_state, state_since: value.at, reason: value.reason, outcome: value.outcome } : each)) }));
      setChanged((before) => new Set([...before, key]));
      setTimeout(() => setChanged((before) => new Set([...before].filter((each) => each !== key))), CHANGED_MS);
    }
    // what comes and goes by a filter of states is seen when the page is loaded again
    if (filters.state && !cursor) soon();
  });
  return html`<section class="panel" aria-label="Monitors">
    <${Loaded} of=${list} lines="10">${({ items: found, next }) => {
      const items = worstFirst && !next && !cursor && !sort ? found.slice().sort((one, other) => STATES.indexOf(one.state) - STATES.indexOf(other.state)) : found;
      const chosen = items.filter((each) => selection.has(keyOf(each)));
      const done = () => {
        selection.clear();
        list.reload();
      };
      if (!items.length && !cursor) return empty ?? html`<${Empty} title="No monitor fits" icon="search">No monitor fits these filters. Clear one of them, or search for a part of an id, name or target.</${Empty}>`;
      return html`
        ${chosen.length > 0 && html`<${Bulk} chosen=${chosen} selection=${selection} done=${done} />`}
        <${Table} label="Monitors" rows=${items} keyOf=${keyOf} keyboard tall changed=${changed} selection=${may("run") ? selection : undefined}
          href=${(each) => to(["users", each.user_id, "monitors", each.monitor_id])}
          columns=${[
            { id: "state", label: "State", width: "w-icon", cell: (each) => html`<${State} state=${shownOfMonitor(each)} outcome=${each.outcome} />` },
            { id: "monitor", label: "Monitor", cell: (each) => html`<span class="two"><a class="name" href=${to(["users", each.user_id, "monitors", each.monitor_id])}>${each.spec.name || each.monitor_id}</a><span class="small faint" title=${each.state === "up" ? targetOf(each.spec) : each.reason}>${withUser && html`<span class="narrow-only">${each.user_id} · </span>`}${each.state === "up" ? html`${targetOf(each.spec) || (each.spec.name ? each.monitor_id : "")}<${Certificate} past=${past.get(keyOf(each))} />` : each.reason || targetOf(each.spec)}</span></span>` },
            roomy.matches && { id: "past", label: "Last day", width: withUser ? "w-bars" : "w-bars-few", wide: true, narrow: false, cell: (each) => html`<${MiniBar} past=${past.get(keyOf(each))} />` },
            withUser && { id: "user", label: "User", width: "w-user", narrow: false, cell: (each) => html`<a href=${to(["users", each.user_id])}>${each.user_id}</a>` },
            { id: "kind", label: "Kind", width: "w-s", narrow: false, cell: (each) => html`<a href=${to(["monitors"], { kind: each.spec.kind })}>${each.spec.kind}</a>` },
            withUser && { id: "schedule", label: "Schedule", width: "w-m", wide: true, narrow: false, cell: (each) => html`<span class="muted" title=${schedule(each.spec.schedule)}>${briefSchedule(each.spec.schedule)}</span>` },
            { id: "next", label: "Next run", width: "w-s", wide: true, narrow: false, num: true, cell: (each) => html`<span class="muted"><${NextRun} monitor=${each} /></span>` },
            { id: "since", label: "For", width: "w-s", num: true, cell: (each) => html`<${Ago} ms=${each.state_since} suffix=${false} />` },
          ]} />
        <${Pager} shown=${items.length} cursor=${cursor} next=${next} setQuery=${setQuery} what=${items.length === 1 ? "monitor" : "monitors"} />`;
    }}</${Loaded}>
  </section>`;
}

/** For how long the certificate is valid still that a monitor looked at; of one that is down its reason says it. */
function Certificate({ past }) {
  return past?.certificate_ends_at ? html` · certificate <${CertificateLeft} end=${past.certificate_ends_at} />` : null;
}

function Bulk({ chosen, selection, done }) {
  const write = may("write");
  const awake = chosen.filter((each) => each.state !== "paused");
  const paused = chosen.filter((each) => each.state === "paused");
  return html`<div class="bulk" role="toolbar" aria-label="Selected monitors">
    <b>${chosen.length} selected</b>
    <${Action} icon="play" act=${() => runMany(chosen, done)}>Run now</${Action}>
    ${awake.length > 0 && html`<${Action} icon="pause" act=${() => pauseMany(awake, done)}>Pause</${Action}>`}
    ${paused.length > 0 && html`<${Action} icon="play" act=${() => resumeMany(paused, done)}>Resume</${Action}>`}
    ${write && html`<${Action} icon="remove" look="danger" act=${() => removeMany(chosen, done)}>Delete</${Action}>`}
    <button class="button plain" type="button" onClick=${selection.clear}>Clear</button>
  </div>`;
}
