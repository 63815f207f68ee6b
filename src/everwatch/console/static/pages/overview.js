// The overview: how many monitors are in which state, what is worst, what changed in the last hour, and whether the
// system keeps up. It costs the same however many monitors there are.
import { html, useEffect, useMemo, useState } from "../app/html.js";
import { first, PAGE } from "../app/api.js";
import { useGet, useThrottled } from "../app/load.js";
import { ONLY_TRANSITIONS, useLive } from "../app/live.js";
import { brief, compact, count, DAY, duration, hostOf, now, plural, rate, sampleOf, targetOf } from "../app/format.js";
import { query, setQuery, to } from "../app/router.js";
import { has, seesAll } from "../app/session.js";
import { MiniBar, Shares } from "../components/bar.js";
import { Flow } from "../components/chart.js";
import { Segments } from "../components/form.js";
import { Icon } from "../components/icon.js";
import { Banner, Empty, Loaded } from "../components/notice.js";
import { Panel } from "../components/panel.js";
import { shownOfMonitor, State, STATES, wordOf } from "../components/state.js";
import { Table } from "../components/table.js";
import { Ago } from "../components/time.js";
import { Feed } from "./feed.js";

const MINUTES = 60;
const MOST_EVENTS = 60;
const [MOST_SHOWN, SHARED_FROM] = [10, 3];
const BARS = 24;
const roomy = window.matchMedia("(min-width: 1101px)");
const LATE_S = 60;
const keyOf = (each) => `${each.user_id}\n${each.monitor_id}`;
// the last day moves by steps, so that not every second is another request
const REFUSED_STEP_MS = 60_000;
const REASONS_LOOKED_AT = 20;

export function Overview() {
  const numbers = useGet(has("GET /v1/overview") ? first.overview() : seesAll.value ? "/v1/counts" : null, null, { every: 15_000 });
  const down = useGet(first.down(), null, { every: 30_000 });
  const late = useGet("/v1/monitors", { state: "late", sort: "state-since", limit: MOST_SHOWN }, { every: 30_000 });
  const past = usePast([down, late]);
  const recent = useGet("/v1/transitions", { limit: MOST_EVENTS }, { every: 60_000 });
  const lag = useGet(seesAll.value ? "/v1/lag" : null, null, { every: 10_000 });
  const [fresh, setFresh] = useState([]);
  const soon = useThrottled(() => {
    numbers.reload();
    down.reload();
    late.reload();
  }, 2_000);
  useLive(ONLY_TRANSITIONS, (kind, value) => {
    if (kind !== "transition") return;
    setFresh((before) => [{ ...value, isNew: true }, ...before].slice(0, MOST_EVENTS));
    if (!value.reminder) soon();
  });
  const feed = useMemo(() => merged(fresh, recent.data?.items ?? []), [fresh, recent.data]);

  return html`
    <div class="page-head"><h1>Overview</h1>${numbers.data && html`<${AsOf} at=${numbers.data.stored_at} />`}</div>
    ${numbers.data?.results && html`<${Blind} executors=${numbers.data.results.executors} />`}
    ${seesAll.value && html`<${Loaded} of=${numbers} lines="3">${(data) => html`<${Counters} monitors=${data.monitors} users=${data.users} />`}</${Loaded}>`}
    <div class="columns main-aside">
      <div class="stack">
        <${Worst} down=${down} late=${late} past=${past} />
        <${LastHour} bars=${numbers.data?.transitions} feed=${feed} />
        ${numbers.data?.monitors.length > 0 && html`<${Parts} monitors=${numbers.data.monitors} />`}
      </div>
      <div class="stack">
        ${seesAll.value && html`<${System} lag=${lag} results=${numbers.data?.results} />`}
        <${Panel} title="Latest changes" aside=${html`<a class="link" href=${to(["changes"])}>All changes</a>`}>
          <${Loaded} of=${recent}>${() => (feed.length ? html`<${Feed} items=${feed.slice(0, 40)} scroll />` : html`<${Empty} title="Nothing has changed yet">Changes of state appear here as they happen.</${Empty}>`)}</${Loaded}>
        </${Panel}>
      </div>
    </div>`;
}

function merged(fresh, stored) {
  const seen = new Set();
  return [...fresh, ...stored].filter((each) => {
    const key = `${each.user_id}\n${each.monitor_id}\n${each.at}\n${each.to_state}`;
    return !seen.has(key) && seen.add(key);
  }).sort((a, b) => b.at - a.at);
}

function AsOf({ at }) {
  if (!at) return null;
  const behind = now.value - at;
  return html`<span class="sub">${behind > LATE_S * 1000 ? `stored up to ${brief(behind)} ago` : "up to date"}</span>`;
}

function Blind({ executors }) {
  const blind = executors.length > 1 ? executors.filter((each) => each.results >= 20 && each.failures === each.results) : [];
  if (!blind.length) return null;
  return html`<${Banner} tone="bad" icon="incidents">${blind.map((each) => each.executor).join(", ")} ${blind.length === 1 ? "sees" : "see"} every check fail while others do not. Its own network may be the cause, and not the targets.</${Banner}>`;
}

function Counters({ monitors, users }) {
  const by = Object.fromEntries(STATES.map((state) => [state, 0]));
  for (const each of monitors) by[each.state] = (by[each.state] ?? 0) + each.monitors;
  const all = Object.values(by).reduce((sum, n) => sum + n, 0);
  const people = Object.values(users).reduce((sum, n) => sum + n, 0);
  const share = (n) => (all ? `${n === all ? 100 : Math.floor((n / all) * 1000) / 10} %` : "");
  return html`<section class="counters" aria-label="Monitors by state">
    <${Shares} counts=${by} />
    ${["down", "late", "up", "new", "paused"].map((state) => html`<a key=${state} class=${`counter${by[state] ? "" : " zero"}`} href=${to(["monitors"], { state, sort: state === "down" || state === "late" ? "state-since" : "" })}>
      <span class="what"><${State} state=${state} /></span><span class="figure" title=${count(by[state])}>${compact(by[state])}</span><span class="note">${by[state] ? html`${share(by[state])}<span class="not-narrow"> of monitors</span>` : "none"}</span>
    </a>`)}
    <a class="counter" href=${to(["users"])}><span class="what muted">Users</span><span class="figure" title=${count(people)}>${compact(people)}</span><span class="note">${plural(all, "monitor")}</span></a>
  </section>`;
}

/** Monitors as rows; those of one target that several share are one row, and come first. ``isPart``: there are more. */
function rowsOf(monitors, isPart) {
  const of = new Map();
  for (const each of monitors) {
    const host = hostOf(each.spec);
    of.set(host, [...(of.get(host) ?? []), each]);
  }
  const isShared = (each) => hostOf(each.spec) && of.get(hostOf(each.spec)).length >= SHARED_FROM;
  const shared = [...of.entries()].filter(([, some]) => isShared(some[0])).sort(([, one], [, other]) => other.length - one.length);
  return [
    ...shared.map(([host, some]) => ({ key: host, host, first: `${some[0].user_id}\n${some[0].monitor_id}`, all: some.length, users: new Set(some.map((each) => each.user_id)).size, isPart, state: some[0].state, reason: some[0].reason, since: Math.min(...some.map((each) => each.state_since)) })),
    ...monitors.filter((each) => !isShared(each)).map((each) => ({ key: `${each.user_id}\n${each.monitor_id}`, monitor: each, state: shownOfMonitor(each), reason: each.reason, since: each.state_since })),
  ].slice(0, MOST_SHOWN);
}

/** How many there are of a target: of a page that is not the last one, the API counts them. */
function useTotal(path, query, { isPart, some }) {
  const { data } = useGet(isPart ? path : null, { ...query, limit: 1, total: true }, { every: 30_000 });
  if (!isPart) return [some, ""];
  return data ? [Math.max(some, data.total), data.total_at_least ? "at least " : ""] : [some, "at least "];
}

function What({ row: { monitor, host, state, all, isPart, reason } }) {
  const [number, atLeast] = useTotal("/v1/monitors", { target: host, state }, { isPart, some: all });
  if (host) return html`<span class="two"><a class="name" href=${to(["monitors"], { target: host })}>${host}</a><span class="small faint" title=${reason}>${atLeast}${plural(number, "monitor")}: ${reason}</span></span>`;
  return html`<span class="two"><a class="name" href=${to(["users", monitor.user_id, "monitors", monitor.monitor_id])}>${monitor.spec.name || monitor.monitor_id}</a><span class="small faint"><span class="narrow-only">${monitor.user_id} · </span><span title=${reason}>${reason || targetOf(monitor.spec) || monitor.spec.kind}</span></span></span>`;
}

/** The users that a target's outage hits. */
function Hit({ row: { host, users, isPart } }) {
  const [number, atLeast] = useTotal("/v1/users", { target: host }, { isPart, some: users });
  return html`<a href=${to(["users"], { target: host })}>${atLeast}${plural(number, "user")}</a>`;
}

/** The last day of those that are down or late, by user and monitor; a phone does not load it. */
function usePast(lists) {
  const path = roomy.matches && has("GET /v1/timelines") ? "/v1/timelines" : null;
  const found = ["down", "late"].map((state) => useGet(path, { state, sort: "state-since", limit: state === "down" ? PAGE : MOST_SHOWN, bars: BARS }, { every: 120_000 }));
  const past = new Map(found.flatMap((each) => each.data?.items ?? []).map((each) => [keyOf(each), each]));
  const soon = useThrottled(() => found.forEach((each) => each.reload()), 15_000);
  // what went down since has no bars yet
  const isMissing = found.every((each) => each.data) && lists.some((list) => list.data?.items.some((each) => !past.has(keyOf(each))));
  useEffect(() => {
    if (isMissing) soon();
  }, [isMissing, ...lists.map((list) => list.data)]);
  return past;
}

function Worst({ down, late, past }) {
  const [data, error] = [down.data && late.data ? { items: rowsOf([...down.data.items, ...late.data.items], Boolean(down.data.next)) } : undefined, down.error ?? late.error];
  const of = { ...down, data, error, loading: down.loading || late.loading };
  return html`<${Panel} title="Needs attention" aside=${html`<a class="link" href=${to(["monitors"], { state: "down", sort: "state-since" })}>All that are down</a>`}>
    <${Loaded} of=${of}>${({ items }) => items.length === 0
      ? html`<${Empty} title="Everything is up" icon="up">No monitor is down or late.</${Empty}>`
      : html`<${Table} label="Monitors that need attention" rows=${items} keyOf=${(row) => row.key} tall
          columns=${[
            { id: "state", label: "State", width: "w-icon", cell: (row) => html`<${State} state=${row.state} />` },
            { id: "what", label: "Monitor or target", cell: (row) => html`<${What} row=${row} />` },
            roomy.matches && { id: "past", label: "Last day", width: "w-bars-few", wide: true, narrow: false, cell: (row) => html`<${MiniBar} past=${past.get(row.first ?? row.key)} />` },
            { id: "user", label: "User", width: "w-user", narrow: false, cell: (row) => (row.host ? html`<${Hit} row=${row} />` : html`<a href=${to(["users", row.monitor.user_id])}>${row.monitor.user_id}</a>`) },
            { id: "since", label: "For", width: "w-s", num: true, cell: (row) => html`<${Ago} ms=${row.since} suffix=${false} />` },
          ]} />`}</${Loaded}>
  </${Panel}>`;
}

/** Changes of the last hour by minute: as the API counts them, else from the newest ones. */
function minutesOf(bars, feed, end) {
  if (bars?.bars) {
    return bars.bars.map((bar) => ({ at: bar.at, up: bar.by_state.up ?? 0, down: bar.by_state.down ?? 0, late: bar.by_state.late ?? 0 }));
  }
  const first = Math.floor(end / 60_000) - MINUTES + 1;
  const minutes = Array.from({ length: MINUTES }, (_, i) => ({ at: (first + i) * 60_000, up: 0, down: 0, late: 0 }));
  for (const each of feed) {
    const minute = minutes[Math.floor(each.at / 60_000) - first];
    if (minute && !each.reminder && each.to_state in minute) minute[each.to_state] += 1;
  }
  return minutes;
}

function LastHour({ bars, feed }) {
  const minutes = minutesOf(bars, feed, Math.floor(now.value / 60_000) * 60_000);
  const sum = minutes.reduce((all, each) => ({ up: all.up + each.up, down: all.down + each.down, late: all.late + each.late }), { up: 0, down: 0, late: 0 });
  return html`<${Panel} title="Last hour" pad aside=${html`<span class="legend of-up">${count(sum.up)} up</span><span class="legend of-down">${count(sum.down)} down</span><span class="legend of-late">${count(sum.late)} late</span>`}>
    <${Flow} minutes=${minutes} label=${`Changes of state in the last hour: ${sum.up} to up, ${sum.down} to down, ${sum.late} to late`} />
    <div class="flow-foot"><span>1 h ago</span><span>${bars?.truncated ? "only the newest changes are counted" : ""}</span><span>now</span></div>
  </${Panel}>`;
}

/** Monitors by their kind or their plan. */
function Parts({ monitors }) {
  const field = query.value.by === "plan" ? "plan" : "kind";
  const of = new Map();
  for (const each of monitors) {
    const row = of.get(each[field]) ?? { part: each[field], all: 0, by: {} };
    row.all += each.monitors;
    row.by[each.state] = (row.by[each.state] ?? 0) + each.monitors;
    of.set(each[field], row);
  }
  const rows = [...of.values()].sort((a, b) => (b.by.down ?? 0) - (a.by.down ?? 0) || b.all - a.all);
  const cell = (state) => (row) => (row.by[state] ? html`<a href=${to(["monitors"], { [field]: row.part, state })}>${count(row.by[state])}</a>` : html`<span class="faint">0</span>`);
  return html`<${Panel} title="Monitors" aside=${html`<${Segments} label="Counted" value=${field} set=${(by) => setQuery({ by: by === "plan" ? by : "" }, { replace: true })} options=${[["kind", "By kind"], ["plan", "By plan"]]} />`}><${Table} label=${`Monitors by ${field}`} rows=${rows} keyOf=${(row) => row.part} columns=${[
    { id: "part", label: field === "kind" ? "Kind" : "Plan", cell: (row) => html`<a class="name" href=${to(["monitors"], { [field]: row.part })}>${row.part}</a>` },
    { id: "share", label: "Share", width: "w-m", narrow: false, cell: (row) => html`<${Shares} counts=${row.by} />` },
    ...["down", "late", "up"].map((state) => ({ id: state, label: wordOf(state), width: "w-count", num: true, cell: cell(state) })),
    { id: "all", label: "All", width: "w-s", num: true, narrow: false, cell: (row) => count(row.all) },
  ]} /></${Panel}>`;
}

const PROCESSES = { worker: "Workers", executor: "Executors", sink: "Sinks", notifier: "Notifiers" };

/** The answer in a word, and what it is about. */
function Answer({ rows, late }) {
  const [broken, behind] = ["bad", "warn"].map((look) => rows.filter((each) => each.look === look).map((each) => (PROCESSES[each.process] ?? each.process).toLowerCase()));
  if (broken.length) return html`<b class="bad">No: ${broken.join(", ")}</b>`;
  if (late) behind.unshift("checks");
  return behind.length ? html`<b class="warn">Late: ${behind.join(", ")}</b>` : html`<b class="ok">Yes</b>`;
}

function System({ lag, results }) {
  const late = Boolean(results?.lateness_ms) && results.lateness_ms.p99 > LATE_S * 1000;
  return html`<${Panel} title="Does it keep up?" aside=${html`${lag.data ? html`<${Answer} rows=${summed(lag.data.items)} late=${late} />` : lag.error && html`<b class="warn">Not known yet</b>`}<a class="link" href=${to(["partitions"])}>Partitions</a>`}>
    ${results && html`<ul class="explain">
      <li><span class=${late ? "warn" : "ok"}><${Icon} name=${late ? "incidents" : "up"} /></span><span>Results</span>
        <span class="value">${rate(results.per_s)} per second${results.lateness_ms ? html`, begun ${duration(results.lateness_ms.p50)} after they were due (99 of 100 within ${duration(results.lateness_ms.p99)})` : ""}</span></li>
    </ul>`}
    <${Refused} />
    <${Loaded} of=${lag} lines="3" what="How far each process is behind">${(data) => html`<ul class="explain">${summed(data.items).map((each) => html`<li key=${each.process}>
      <span class=${each.look}><${Icon} name=${each.look === "ok" ? "up" : "incidents"} /></span><span>${PROCESSES[each.process] ?? each.process}</span>
      <span class="value">${each.text}${each.remedy && html`<br /><span class="remedy">${each.remedy}</span>`}</span>
    </li>`)}</ul>`}</${Loaded}>
  </${Panel}>`;
}

/** How many records were refused in the last day, and why most of them. */
function Refused() {
  const begin = Math.floor(now.value / REFUSED_STEP_MS) * REFUSED_STEP_MS - DAY;
  const found = useGet(has("GET /v1/dead-letters") ? "/v1/dead-letters" : null, { since: begin, limit: REASONS_LOOKED_AT });
  if (!found.data) return null;
  const counts = found.data.counts.slice().sort((a, b) => b.count - a.count);
  const all = counts.reduce((sum, each) => sum + each.count, 0);
  const why = all ? sampleOf(counts[0], found.data.items) : "";
  return html`<ul class="explain"><li><span class=${all ? "warn" : "ok"}><${Icon} name=${all ? "letters" : "up"} /></span><span>Refused</span>
    <span class="value">${all ? html`<a class="link" href=${to(["dead-letters"], { hours: 24 })}>${plural(all, "record")} in the last day</a><br /><span class="remedy lines-2" title=${why}>${counts.length > 1 ? "most of them: " : ""}${why}</span>` : "nothing in the last day"}</span></li></ul>`;
}

function summed(items) {
  const of = new Map();
  for (const each of items) {
    const row = of.get(each.process) ?? { process: each.process, lag: 0, lag_s: 0, unowned: 0, owners: new Set() };
    row.lag += each.lag;
    row.lag_s = each.lag_s === null || row.lag_s === null ? null : Math.max(row.lag_s, each.lag_s);
    row.unowned += each.unowned;
    each.owners.forEach((owner) => row.owners.add(owner));
    of.set(each.process, row);
  }
  return [...of.values()].map((row) => {
    const running = plural(row.owners.size, "process", "processes");
    if (row.unowned) return { ...row, look: "bad", text: `${running}, ${plural(row.unowned, "partition")} without an owner`, remedy: `Start a process: everwatch ${row.process}${row.owners.size ? "" : ", or see in its log why the last one ended"}` };
    if (row.lag_s === null) return { ...row, look: "bad", text: `${running}, a record cannot be read`, remedy: "See the partitions." };
    const behind = row.lag ? `${plural(row.lag, "record")} to read, the oldest ${duration(row.lag_s * 1000)} old` : "all records are read";
    return { ...row, look: row.lag_s > LATE_S ? "warn" : "ok", text: `${running}, ${behind}`, remedy: "" };
  });
}
