// Partitions and processes: who owns which partition, up to when its ticks are emitted, how far each process is behind,
// and what to do about it.
import { html, useMemo } from "../app/html.js";
import { useGet } from "../app/load.js";
import { ago, brief, count, duration, now, plural } from "../app/format.js";
import { has } from "../app/session.js";
import { query, setQuery } from "../app/router.js";
import { Segments } from "../components/form.js";
import { Icon } from "../components/icon.js";
import { Empty, Loaded } from "../components/notice.js";
import { Panel } from "../components/panel.js";
import { State } from "../components/state.js";
import { Table } from "../components/table.js";

const LATE_S = 60;
const VIEWS = [["", "By partition"], ["topics", "By topic"], ["processes", "Processes"]];

export function Partitions() {
  const { view = "" } = query.value;
  const partitions = useGet("/v1/partitions", null, { every: 5_000 });
  return html`
    <div class="page-head"><h1>Partitions and processes</h1>${partitions.data && html`<span class="sub">measured ${ago(now.value - partitions.data.at)}</span>`}</div>
    ${has("GET /v1/diagnosis") && html`<${Findings} />`}
    <${Segments} label="View" value=${view} set=${(each) => setQuery({ view: each })} options=${VIEWS} />
    ${view === "topics" ? html`<${Topics} />` : view === "processes" ? html`<${Processes} />` : html`<${ByPartition} of=${partitions} />`}`;
}

function Findings() {
  const found = useGet("/v1/diagnosis", null, { every: 15_000 });
  return html`<${Panel} title="Findings" aside=${found.data?.at ? `looked ${ago(now.value - found.data.at)}` : ""}>
    <${Loaded} of=${found} lines="2">${(data) => {
      const bad = data.findings.filter((each) => !each.ok);
      if (!data.at) return html`<${Empty} title="The first look is under way">It takes some seconds.</${Empty}>`;
      if (!bad.length) return html`<div class="verdict is-up"><${Icon} name="up" size="20" /><div><p class="what">All is well.</p><p class="why">${plural(data.findings.length, "check")}: ${data.findings.map((each) => each.name).join(", ")}.</p></div></div>`;
      return html`<ul class="explain">${bad.map((each) => html`<li key=${each.name}><span class="bad"><${Icon} name="incidents" /></span><span>${each.name}</span><span class="value">${each.says}${each.remedy && html`<br /><span class="remedy">${each.remedy}</span>`}</span></li>`)}</ul>`;
    }}</${Loaded}>
  </${Panel}>`;
}

/** One row for each partition: its worker, and the sums of each kind of process. */
function rowsOf(items, at) {
  const of = new Map();
  for (const each of items) {
    const row = of.get(each.partition) ?? { partition: each.partition, worker: "", host: "", emitted_to: null, lag: {}, problems: [] };
    if (each.process === "worker") {
      row.worker ||= each.client_id;
      row.host ||= each.host;
      if (each.emitted_to) row.emitted_to = Math.max(row.emitted_to ?? 0, each.emitted_to);
    }
    const lag = row.lag[each.process] ?? { lag: 0, lag_s: 0, owned: false };
    lag.lag += each.lag;
    lag.lag_s = each.lag_s === null || lag.lag_s === null ? null : Math.max(lag.lag_s, each.lag_s);
    lag.owned ||= Boolean(each.client_id);
    row.lag[each.process] = lag;
    if (each.unreadable) row.problems.push([`A record of ${each.topic} cannot be read: ${each.unreadable}`, "bad"]);
    of.set(each.partition, row);
  }
  for (const row of of.values()) {
    for (const [process, lag] of Object.entries(row.lag)) {
      if (!lag.owned) row.problems.push([`No ${process} owns it: start one with 'everwatch ${process}'.`, "bad"]);
      else if (lag.lag_s > LATE_S) row.problems.push([`The ${process} is ${duration(lag.lag_s * 1000)} behind: start another one, or give it more time.`, "warn"]);
    }
    if (row.emitted_to && at - row.emitted_to > LATE_S * 1000) row.problems.push([`Its ticks are emitted up to ${brief(at - row.emitted_to)} ago only.`, "warn"]);
  }
  return [...of.values()].sort((a, b) => b.problems.length - a.problems.length || a.partition - b.partition);
}

function LagCell({ lag }) {
  if (!lag) return html`<span class="faint">–</span>`;
  if (!lag.owned) return html`<span class="bad">no owner</span>`;
  if (lag.lag_s === null) return html`<span class="bad">not readable</span>`;
  return html`<span class=${lag.lag_s > LATE_S ? "warn" : lag.lag ? "" : "faint"} title=${plural(lag.lag, "record")}>${lag.lag ? `${count(lag.lag)} · ${duration(lag.lag_s * 1000)}` : "0"}</span>`;
}

function ByPartition({ of }) {
  const rows = useMemo(() => (of.data ? rowsOf(of.data.items, of.data.at) : []), [of.data]);
  return html`<section class="panel" aria-label="Partitions"><${Loaded} of=${of} lines="8">${() => (rows.length
    ? html`<${Table} label="Partitions" rows=${rows} keyOf=${(row) => String(row.partition)} columns=${[
        { id: "partition", label: "No.", width: "w-xs", cell: (row) => html`<span class="name">${row.partition}</span>` },
        { id: "worker", label: "Worker", narrow: false, cell: (row) => (row.worker ? html`<span title=${row.host}>${row.worker}</span>` : html`<span class="bad">no owner</span>`) },
        { id: "emitted", label: "Emitted to", width: "w-m", narrow: false, num: true, cell: (row) => (row.emitted_to ? ago(of.data.at - row.emitted_to) : html`<span class="faint">no ticks yet</span>`) },
        ...["worker", "executor", "sink"].map((process) => ({ id: process, label: `${process[0].toUpperCase()}${process.slice(1)} lag`, width: "w-m", narrow: process === "executor", num: true, cell: (row) => html`<${LagCell} lag=${row.lag[process]} />` })),
        { id: "remedy", label: "What to do", wrap: true, cell: (row) => (row.problems.length ? row.problems.map(([text, look]) => html`<div class=${look}>${text}</div>`) : html`<span class="faint">–</span>`) },
      ]} />`
    : html`<${Empty} title="No partitions" icon="partitions">The topics do not exist yet: start a worker, or run <code>everwatch topics create</code>.</${Empty}>`)}</${Loaded}></section>`;
}

function Topics() {
  const lag = useGet("/v1/lag", null, { every: 5_000 });
  return html`<section class="panel" aria-label="Topics"><${Loaded} of=${lag} lines="8">${({ items }) => html`<${Table} label="Lag by topic" rows=${items} keyOf=${(each) => `${each.topic}\n${each.group}`} columns=${[
    { id: "topic", label: "Topic", cell: (each) => html`<span class="name">${each.topic}</span>` },
    { id: "process", label: "Read by", width: "w-m", cell: (each) => each.process },
    { id: "group", label: "Consumer group", narrow: false, cell: (each) => html`<span class="muted">${each.group}</span>` },
    { id: "partitions", label: "Partitions", width: "w-s", num: true, narrow: false, cell: (each) => count(each.partitions) },
    { id: "unowned", label: "Unowned", width: "w-s", num: true, narrow: false, cell: (each) => (each.unowned ? html`<span class="bad">${each.unowned}</span>` : html`<span class="faint">0</span>`) },
    { id: "lag", label: "Records", width: "w-s", num: true, cell: (each) => count(each.lag) },
    { id: "age", label: "Oldest", width: "w-s", num: true, cell: (each) => (each.lag_s === null ? html`<span class="bad">unreadable</span>` : each.lag ? html`<span class=${each.lag_s > LATE_S ? "warn" : ""}>${duration(each.lag_s * 1000)}</span>` : html`<span class="faint">–</span>`) },
  ]} />`}</${Loaded}></section>`;
}

function Processes() {
  const workers = useGet("/v1/workers", null, { every: 5_000 });
  return html`<section class="panel" aria-label="Processes"><${Loaded} of=${workers} lines="5">${({ items }) => (items.length
    ? html`<${Table} label="Processes" rows=${items} keyOf=${(each) => `${each.process}\n${each.client_id}`} columns=${[
        { id: "running", label: "", width: "w-icon", cell: () => html`<${State} state="running" />` },
        { id: "process", label: "Process", width: "w-m", cell: (each) => html`<span class="name">${each.process}</span>` },
        { id: "client", label: "Client id", cell: (each) => each.client_id },
        { id: "host", label: "Host", width: "w-m", narrow: false, cell: (each) => html`<span class="muted">${each.host}</span>` },
        { id: "partitions", label: "Partitions", width: "w-s", num: true, cell: (each) => (each.partitions ? count(each.partitions) : html`<span class="warn">none</span>`) },
      ]} />`
    : html`<${Empty} title="No process is running" icon="partitions">Start them: <code>everwatch worker</code>, <code>everwatch executor</code>, <code>everwatch sink</code>.</${Empty}>`)}</${Loaded}></section>`;
}
