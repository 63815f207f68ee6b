// One monitor: its state and why, for how long it was in which, how long its runs took, what comes next, and its actions.
import { html, useEffect, useLayoutEffect, useMemo, useState } from "../app/html.js";
import { monitorPath, userPath } from "../app/api.js";
import { useGet, useThrottled } from "../app/load.js";
import { useLive } from "../app/live.js";
import { pageKeys } from "../app/keys.js";
import { certificateEnd, clock, count, DAY, duration, full, hostOf, now, percent, phasesOf, plural, schedule, targetOf, verdictText } from "../app/format.js";
import { go, query, setQuery, to } from "../app/router.js";
import { has, may, seesAll } from "../app/session.js";
import { acknowledge, snooze, withdraw } from "../app/incident-actions.js";
import { maintainMonitor, msOf, withdrawFromMonitor } from "../app/maintenance.js";
import { edit, nameOf, pause, remove, resume, runNow } from "../app/monitor-actions.js";
import { Ack } from "../components/ack.js";
import { Copy } from "../components/copy.js";
import { AvailabilityBar } from "../components/bar.js";
import { Phases, TimeChart } from "../components/chart.js";
import { Action, Choice, Segments } from "../components/form.js";
import { Icon } from "../components/icon.js";
import { Json } from "../components/json.js";
import { Empty, Loaded } from "../components/notice.js";
import { Panel } from "../components/panel.js";
import { changesOf, SpecChanges } from "../components/spec-changes.js";
import { iconOf, lookOf, shownOf, State } from "../components/state.js";
import { Pager, Table } from "../components/table.js";
import { Ago, CertificateLeft, Instant, NextRun } from "../components/time.js";
import { Feed } from "./feed.js";

const RANGES = [["1h", "1 h", 3_600_000], ["24h", "24 h", DAY], ["7d", "7 d", 7 * DAY], ["30d", "30 d", 30 * DAY], ["90d", "90 d", 90 * DAY]];
const BARS = 60;
// availability is said of this range besides the one that is looked at
const LONG = "30d";
// a range moves with the present by steps, so that not every second is another request
const STEPS = 240;
const ROUTE = "/v1/users/{user_id}/monitors/{monitor_id}";
const RESULTS_PAGE = 20;
// a line over fewer steps would say what was in between
const FEWEST_STEPS = 4;
const MOST_RUNS = 300;
const PHASES = ["--phase-5", "--phase-3", "--late-bar", "--text-3", "--phase-2"];

export function MonitorPage({ user: userId, monitor: monitorId }) {
  const path = (rest = "") => monitorPath(userId, monitorId, rest);
  const monitor = useGet(path());
  const [range, setRange] = [query.value.range ?? "24h", (each) => setQuery({ range: each === "24h" ? "" : each }, { replace: true, keepCursor: true })];
  const length = (RANGES.find(([name]) => name === range) ?? RANGES[1])[2];
  const step = length / STEPS;
  const until = Math.floor(now.value / step) * step;
  const timeline = useGet(path("/timeline"), { since: until - length, bars: BARS });
  const month = useGet(range === LONG ? null : path("/timeline"), { since: Math.floor(now.value / DAY) * DAY - 29 * DAY, bars: 1 });
  const transitions = useGet(path("/transitions"), { limit: 30 });
  const explained = useGet(has(`GET ${ROUTE}/explain`) ? path("/explain") : null);
  const notified = useGet(has(`GET ${ROUTE}/notifications`) ? path("/notifications") : null);
  const [results, setResults] = useState(0);
  const onChange = useThrottled(() => [monitor, timeline, transitions, explained, notified].forEach((each) => each.reload()), 1_000);
  const onResult = useThrottled(() => setResults((n) => n + 1), 1_500);
  useLive({ user: userId, monitor: monitorId }, (kind) => {
    if (kind === "transition") onChange();
    onResult();
  });
  const name = monitor.data ? nameOf(monitor.data) : monitorId;
  useEffect(() => {
    document.title = `${name} · Everwatch`;
  }, [name]);
  return html`
    <div class="crumbs"><a href=${to(["monitors"])}>Monitors</a><span>/</span><a class="clip" href=${to(["users", userId])}>${userId}</a><span>/</span><span class="clip">${monitorId}</span></div>
    <div class="page-head"><h1 class="clip">${name}</h1>${monitor.data && html`<${State} state=${monitor.data.state} outcome=${monitor.data.outcome} badge />`}${notified.data?.incident?.phase === "flapping" && html`<${State} state="flapping" badge />`}
      ${monitor.data && html`<div class="end"><${Actions} monitor=${monitor.data} done=${onChange} /></div>`}</div>
    <${Loaded} of=${monitor} lines="6">${(data) => html`
      <${Verdict} path=${path} nonce=${results} monitor=${data} incident=${notified.data?.incident} seen=${notified.reload} explained=${explained.data} whole=${timeline.data?.whole} month=${month.data?.whole} range=${range} changed=${onChange} />
      <${Panel} title="Availability" pad aside=${html`<${Segments} label="Range" value=${range} set=${setRange} options=${RANGES.map(([each, text]) => [each, text])} />`}>
        <${Loaded} of=${timeline} lines="2">${({ whole, bars }) => html`<${AvailabilityBar} whole=${whole} bars=${bars} label=${`States in the last ${range}`} />`}</${Loaded}>
      </${Panel}>
      <div class="columns main-aside">
        <div class="stack">
          <${Latency} path=${path} length=${length} until=${until} nonce=${results} />
          <${Results} path=${path} nonce=${results} />
        </div>
        <div class="stack">
          ${explained.data && html`<${Explanation} explained=${explained.data} notified=${notified.data} of=${{ user: userId, monitor: monitorId }} />`}
          ${data.spec.kind === "heartbeat" && has("GET /v1/users/{user_id}/ping-key") && html`<${Pings} monitor=${data} />`}
          <${NextRuns} path=${path} monitor=${data} />
          ${has(`GET ${ROUTE}/badge`) && html`<${Badge} path=${path} name=${name} />`}
          <${Panel} title="Changes of state" aside=${has("GET /v1/audit") && html`<a class="link" href=${to(["audit"], { user: userId, monitor: monitorId })}>Who changed it</a>`}><${Loaded} of=${transitions}>${({ items }) => (items.length ? html`<${Feed} items=${items} own scroll />` : html`<${Empty} title="Its state has not changed yet" />`)}</${Loaded}></${Panel}>
          <${Config} monitor=${data} />
          ${has(`GET ${ROUTE}/changes`) && html`<${Edits} monitor=${data} path=${path} />`}
        </div>
      </div>`}</${Loaded}>`;
}

function Actions({ monitor, done }) {
  const gone = () => go(to(["users", monitor.user_id]));
  const asleep = monitor.state === "paused";
  useLayoutEffect(() => {
    const own = { p: () => (asleep ? resume(monitor, done) : pause(monitor, done)), r: () => runNow(monitor, done) };
    if (may("write")) own.e = () => edit(monitor, done);
    if (!may("run")) return undefined;
    Object.entries(own).forEach(([key, act]) => pageKeys.set(key, act));
    return () => Object.keys(own).forEach((key) => pageKeys.delete(key));
  });
  if (!may("run")) return null;
  return html`
    <${Action} icon="play" act=${() => runNow(monitor, done)} title="Run it once, beside its schedule (r)">Run now</${Action}>
    ${asleep ? html`<${Action} icon="play" act=${() => resume(monitor, done)} title="(p)">Resume</${Action}>` : html`<button class="button" type="button" title="(p)" onClick=${() => pause(monitor, done)}><${Icon} name="pause" size="14" />Pause</button>`}
    ${may("write") && html`<${Action} icon="tool" act=${() => maintainMonitor(monitor, done)} title="No alerts for a while, from now or ahead">Maintain</${Action}>`}
    ${may("write") && html`<${Action} icon="edit" act=${() => edit(monitor, done)} title="(e)">Edit</${Action}>`}
    ${may("write") && html`<button class="button icon danger" type="button" aria-label="Delete" title="Delete" onClick=${() => remove(monitor, gone)}><${Icon} name="remove" size="14" /></button>`}`;
}

const LEAD = {
  up: "It has been up", down: "It has been down", late: "It has been late", paused: "It has been paused", new: "It is new and has not run", done: "It has been over",
};

const BY_COMMAND = "paused by command";
// the database has a change some moments after the API has logged who asked for it
const TOLD_WITHIN_MS = 600_000;

/** Who paused a monitor, as far as it was over HTTP. */
function PausedBy({ monitor }) {
  const found = useGet(has("GET /v1/audit") ? "/v1/audit" : null, { user: monitor.user_id, limit: 50 });
  // not an earlier pause: a later one came by a command, and its reason says who sent it if that is known
  const entry = found.data?.items.find((each) => each.command === "pause" && each.status < 300 && (!each.monitor_id || each.monitor_id === monitor.monitor_id) && Math.abs(each.at - monitor.state_since) < TOLD_WITHIN_MS);
  if (!entry) return monitor.reason === BY_COMMAND ? html`<p class="why">${BY_COMMAND}</p>` : null;
  return html`<p class="small muted">Paused by <b>${entry.token_name || entry.token_id}</b> (${entry.role}) <${Ago} ms=${entry.at} />. <a class="link" href=${to(["audit"], { user: monitor.user_id, monitor: entry.monitor_id })}>Audit</a></p>`;
}

/** The open incident: who has seen it, and what can be done about its alerts. */
function IncidentLine({ incident, done }) {
  const may_act = may("run") && has(`POST ${ROUTE}/ack`);
  const { ack } = incident;
  return html`<div class="incident-line"><span><a class="link" href=${to(["incidents", incident.incident_id])}>Incident</a> ${incident.phase} since <${Instant} ms=${incident.opened_at} />, ${incident.severity}.${incident.settles_at > 0 && html` No alert until its state has stayed for ten minutes, at the earliest <${Ago} ms=${incident.settles_at} />.`}</span> <${Ack} ack=${ack} none=${html`<span class="faint">Nobody has acknowledged it.</span>`} />
    ${may_act && html`<span class="acts">
      ${!ack && html`<${Action} icon="done" act=${() => acknowledge([incident], done)} title="No reminders any more, and no escalation">Acknowledge</${Action}>`}
      <${Action} icon="late" act=${() => snooze([incident], done)} title="No alert for a while">Snooze</${Action}>
      ${ack && html`<${Action} icon="skipped" act=${() => withdraw([incident], done)} title="Reminders and escalations go on">Take back</${Action}>`}
    </span>`}
  </div>`;
}

/** Says so if the target fails for many users: then it is no fault of this one. */
function SharedTarget({ host }) {
  const shared = useGet(seesAll.value && has("GET /v1/incidents/shared") ? "/v1/incidents/shared" : null);
  const found = shared.data?.targets.find((each) => each.target === host);
  if (!found) return null;
  return html`<p class="small muted"><b>${host}</b> fails for ${plural(found.failing, "monitor")}. <a class="link" href=${to(["users"], { target: host })}>Which users does it hit?</a></p>`;
}

/** For how long the certificate is valid still that the last run saw. */
function Certificate({ path, nonce }) {
  const last = useGet(path("/results"), { limit: 1 });
  useEffect(() => {
    if (nonce) last.reload();
  }, [nonce]);
  const end = certificateEnd(last.data?.items[0]);
  return end ? html`<div><dt>Certificate</dt><dd><${CertificateLeft} end=${end} /></dd></div>` : null;
}

function Verdict({ path, nonce, monitor, incident, seen, explained, whole, month, range, changed }) {
  const { reason, spec } = monitor;
  const state = shownOf(monitor.state, monitor.outcome);
  // who paused it says more
  const why = reason === BY_COMMAND ? "" : state === "paused" ? reason.replace(/^paused: /, "") : reason;
  const target = targetOf(spec);
  return html`<section class=${`panel ${state === "down" || state === "late" ? `edge-${state}` : ""}`} aria-label="State">
    <div class=${`verdict is-${lookOf(state)}`}><${Icon} name=${iconOf(state)} size="20" />
      <div class="grow"><p class="what">${LEAD[monitor.state]} for <${Ago} ms=${monitor.state_since} suffix=${false} />${why ? ":" : "."}</p>${why && html`<p class="why">${why}</p>`}
        ${state === "paused" && html`<${PausedBy} monitor=${monitor} />`}
        ${explained?.silence && html`<p class="bad">No results since <${Instant} ms=${explained.silence.since} />, although it was due: ${explained.silence.cause}.</p>`}
        ${(spec.policy?.maintenance ?? []).filter((each) => !each.end || msOf(each.end) > now.value).map((each) => html`<p class="small muted" key=${each.start ?? each.cron}>Maintenance ${each.cron ? `by ${each.cron} (${each.timezone}) for ${each.duration}` : html`<${Instant} ms=${msOf(each.start)} /> to <${Instant} ms=${msOf(each.end)} />`}.${may("write") && html` <button class="link" type="button" aria-label="Withdraw this maintenance" onClick=${() => withdrawFromMonitor(monitor, each, changed)}>Withdraw</button>`}</p>`)}
        ${incident && incident.phase !== "closed" && html`<${IncidentLine} incident=${incident} done=${seen} />`}
        ${(state === "down" || state === "late") && hostOf(spec) && html`<${SharedTarget} host=${hostOf(spec)} />`}
      </div>
    </div>
    <div class="body facts-body"><dl class="facts">
      ${target && html`<div class="broad"><dt>${spec.kind === "heartbeat" ? "Signal" : "Target"}</dt><dd title=${target}>${target}</dd></div>`}
      <div><dt>Available, ${range}</dt><dd>${whole ? percent(whole.availability) : "–"}</dd></div>
      ${range !== LONG && html`<div><dt>Available, ${LONG}</dt><dd>${month ? percent(month.availability) : "–"}</dd></div>`}
      <div><dt>Next run</dt><dd>${monitor.next_run ? html`<${NextRun} monitor=${monitor} />` : "none"}</dd></div>
      <div><dt>Schedule</dt><dd title=${schedule(spec.schedule)}>${schedule(spec.schedule)}</dd></div>
      <div><dt>Kind</dt><dd><a href=${to(["monitors"], { kind: spec.kind })}>${spec.kind}</a></dd></div>
      ${(spec.kind === "tls" || spec.config?.certificate_days_left > 0) && html`<${Certificate} path=${path} nonce=${nonce} />`}
      ${monitor.last_signal > 0 && html`<div><dt>Last signal</dt><dd><${Ago} ms=${monitor.last_signal} /></dd></div>`}
      ${monitor.last_body_at > 0 && html`<div class="broad"><dt>Printed last, <${Ago} ms=${monitor.last_body_at} /></dt><dd><pre>${monitor.last_body}</pre></dd></div>`}
    </dl>
    ${spec.labels && html`<p class="tags">${Object.entries(spec.labels).map(([key, value]) => html`<a key=${key} class="tag" href=${to(["monitors"], { label: `${key}=${value}` })}>${key}=${value}</a>`)}</p>`}</div>
  </section>`;
}

function Latency({ path, length, until, nonce }) {
  const rolled = has(`GET ${ROUTE}/latency`) && length > 3_600_000;
  const day = length > 14 * DAY;
  const rollups = useGet(rolled ? path("/latency") : null, { step: day ? "day" : "hour", since: until - length });
  const points = (rollups.data?.items ?? []).filter((each) => each.mean_ms !== null && each.mean_ms !== undefined);
  // of a monitor that is younger than some of these steps the newest runs are shown
  const each = !rolled || (rollups.data && points.length < FEWEST_STEPS);
  const recent = useGet(each ? path("/results") : null, { limit: MOST_RUNS, since: until - length });
  useEffect(() => {
    if (nonce && each) recent.reload();
  }, [nonce]);
  const chart = useMemo(() => {
    if (each && recent.data) {
      const items = recent.data.items.filter((run) => run.status === "success" || run.status === "failure").slice().reverse();
      return { times: items.map((run) => run.scheduled_at), series: [{ label: "Duration", token: "--accent", fill: true, values: items.map((run) => run.duration_ms) }, ...phaseLines(items)] };
    }
    if (!each && rollups.data) {
      return { times: points.map((step) => step.at), series: [["p50", "--accent", "p50_ms", true], ["p95", "--late-bar", "p95_ms"], ["p99", "--text-3", "p99_ms"]].map(([label, token, field, fill]) => ({ label, token, fill, values: points.map((step) => step[field] ?? null) })) };
    }
    return null;
  }, [each, rollups.data, recent.data]);
  const of = each ? recent : rollups;
  return html`<${Panel} title="Duration of runs" pad aside=${each ? "each run" : day ? "by day" : "by hour"}>
    <${Loaded} of=${of} lines="4">${() => (chart && chart.times.length > 1 ? html`<${TimeChart} times=${chart.times} series=${chart.series} label=${summary(chart)} />` : html`<${Empty} title="Too few runs for a chart">It appears after the second run in this range.</${Empty}>`)}</${Loaded}>
  </${Panel}>`;
}

/** A line for each phase of runs that have several: what a slow one waited for. */
function phaseLines(runs) {
  const of = runs.map((run) => new Map(phasesOf(run.timings ?? {})));
  const names = [...new Set(of.flatMap((each) => [...each.keys()]))];
  return names.length < 2 ? [] : names.map((name, i) => ({ label: name.replace("_", " "), token: PHASES[i % PHASES.length], values: of.map((each) => each.get(name) ?? null) }));
}

function summary(chart) {
  return `Duration of runs. ${chart.series.map(({ label, values }) => {
    const known = values.filter((each) => each !== null);
    return known.length ? `${label}: from ${duration(Math.min(...known))} to ${duration(Math.max(...known))}, last ${duration(known.at(-1))}` : `${label}: none`;
  }).join(". ")}`;
}

const STATUSES = [["", "Any status"], ["success", "Success"], ["failure", "Failure"], ["late", "Late"], ["skipped", "Skipped"]];

function Results({ path, nonce }) {
  const { status = "", cursor = "" } = query.value;
  const list = useGet(path("/results"), { status, cursor, limit: RESULTS_PAGE });
  useEffect(() => {
    if (nonce && !cursor) list.reload();
  }, [nonce]);
  return html`<${Panel} title="Results" aside=${html`<${Choice} label="Status" value=${status} set=${(each) => setQuery({ status: each })} options=${STATUSES} />`}>
    <${Loaded} of=${list} lines="6">${({ items, next }) => (items.length === 0 && !cursor
      ? html`<${Empty} title=${status ? "No result with this status" : "No results yet"}>${status ? "" : "The first one appears after the next run."}</${Empty}>`
      : html`<${Table} label="Results" rows=${items} keyOf=${(each) => `${each.scheduled_at}\n${each.attempt}\n${each.manual}\n${each.region}`} columns=${[
          { id: "status", label: "Status", width: "w-m", cell: (each) => html`<${State} state=${each.status} />` },
          { id: "due", label: "Due", width: "w-m", cell: (each) => html`<span class="muted"><${Instant} ms=${each.scheduled_at} /></span>` },
          { id: "says", label: "Says", narrow: false, cell: (each) => html`<span title=${each.detail || each.reason}>${notes(each)}${each.reason || html`<span class="faint">–</span>`}</span>` },
          { id: "took", label: "Took", width: "w-s", num: true, cell: (each) => (each.status === "skipped" ? html`<span class="faint">–</span>` : duration(each.duration_ms)) },
          { id: "phases", label: "Phases", width: "w-s", narrow: false, wide: true, cell: (each) => html`<${Phases} timings=${each.timings} />` },
        ]} /><${Pager} shown=${items.length} cursor=${cursor} next=${next} setQuery=${setQuery} what=${items.length === 1 ? "result" : "results"} />`)}</${Loaded}>
  </${Panel}>`;
}

function notes(result) {
  const said = [];
  if (result.region) said.push(result.region);
  if (result.manual) said.push("unscheduled");
  if (result.attempt > 1) said.push(`attempt ${result.attempt}`);
  if (result.skipped_count > 1) said.push(plural(result.skipped_count, "run"));
  if (result.deliveries > 1) said.push(`delivered ${count(result.deliveries)} times`);
  return said.length ? html`<span class="tag" title=${result.manual ? "A first check of a new monitor, or a run that somebody asked for" : undefined}>${said.join(", ")}</span> ` : "";
}

function NextRuns({ path, monitor }) {
  const next = useGet(monitor.next_run ? path("/next") : null, { limit: 5 });
  const passed = next.data?.next_runs.length > 0 && next.data.next_runs[0] < now.value - 1_000;
  useEffect(() => {
    if (passed) next.reload();
  }, [passed]);
  if (!monitor.next_run) return null;
  return html`<${Panel} title="Next runs" pad><${Loaded} of=${next} lines="2">${({ next_runs: runs }) => html`<dl class="pairs">${runs.map((at) => html`<dt key=${at}><${Ago} ms=${at} /></dt><dd title=${full(at)}>${clock(at)}</dd>`)}</dl>`}</${Loaded}></${Panel}>`;
}

/** Where a job says that it is well. */
function Pings({ monitor }) {
  const key = useGet(userPath(monitor.user_id, "/ping-key"));
  return html`<${Panel} title="Ping URL" pad><${Loaded} of=${key} lines="2">${(data) => html`<div class="stack">
    <${Copy} text=${`${window.location.origin}${data.path.replace("MONITOR", encodeURIComponent(monitor.monitor_id))}`} />
    <p class="small faint">The job asks for it at its end. <code>/start</code> and <code>/fail</code> behind it say that a run begins or failed; <code>/0</code> to <code>/255</code> is its exit code.</p>
  </div>`}</${Loaded}></${Panel}>`;
}

/** A picture of its state for other pages, and the text that shows it there. */
function Badge({ path, name }) {
  const badge = useGet(path("/badge"));
  return html`<${Panel} title="Badge" pad><${Loaded} of=${badge} lines="2">${(data) => html`<div class="stack">
    <p class="row wrap"><img src=${data.svg} alt=${`Badge: the state of ${name}`} height="20" /><img src=${`${data.svg}?show=uptime`} alt=${`Badge: the availability of ${name} in 30 days`} height="20" /></p>
    <${Copy} label="Copy the Markdown of the badge" text=${`![${name}](${window.location.origin}${data.svg})`} />
  </div>`}</${Loaded}></${Panel}>`;
}

const EXPLAINED = { ok: "up", none: "partitions" };

/** What the system knows of a monitor beside its results: who runs it, and whether people are alerted. */
function Explanation({ explained, notified, of }) {
  const { owners, agenda, maintenance_until: maintained, last_run: run } = explained;
  const rows = [];
  const row = (look, name, value, remedy = "") => rows.push({ look, name, value, remedy });
  if (explained.silence) row("bad", "Results", html`none since <${Instant} ms=${explained.silence.since} />`, explained.silence.cause);
  else if (run) row(run.is_stale ? "warn" : "ok", "Last run began", html`<${Ago} ms=${run.began_at} />${run.late_ms >= 1_000 ? `, ${duration(run.late_ms)} late` : ", on time"}${run.skipped_since ? `; ${plural(run.skipped_since, "run")} skipped since` : ""}`, run.skip_reason);
  for (const each of explained.regions || []) row(!each.status ? "warn" : each.status === "success" ? "ok" : "bad", `Region ${each.region}`, each.status ? html`${each.status} <${Ago} ms=${each.scheduled_at} />` : "no answer", each.status && each.status !== "success" ? each.reason : "");
  if (agenda?.retry_at) row("warn", "Retry", html`attempt ${agenda.retry_attempt} <${Ago} ms=${agenda.retry_at} />`);
  if (agenda?.resume_at) row("warn", "Paused", html`until <${Instant} ms=${agenda.resume_at} />`);
  if (agenda?.remind_at) row("ok", "Reminder", html`<${Ago} ms=${agenda.remind_at} />`);
  row(maintained ? "warn" : "ok", "Alerts", maintained ? html`maintenance until <${Instant} ms=${maintained} />: no alerts` : html`${notifiedText(notified)}${has("GET /v1/routes") && seesAll.value && html` <a class="link" href=${to(["routes"], of)}>Who is told?</a>`}`);
  if (owners) {
    row(owners.worker ? "ok" : "bad", "Worker", owners.worker || "none owns the partition", owners.worker ? "" : "Start a worker: everwatch worker");
    if (!explained.inline) row(owners.executors?.length ? "ok" : "bad", "Executor", owners.executor || (owners.executors?.length ? plural(owners.executors.length, "executor") : "none is running"), owners.executors?.length ? "" : "Start an executor: everwatch executor");
  } else if (explained.broker) row("warn", "Processes", "not known", explained.broker);
  if (explained.partition !== null && explained.partition !== undefined) row("none", "Partition", String(explained.partition));
  return html`<${Panel} title="Why, and what runs it"><ul class="explain">${rows.map((each) => html`<li key=${each.name}><span class=${each.look === "none" ? "faint" : each.look}><${Icon} name=${EXPLAINED[each.look] ?? "incidents"} /></span><span class="faint">${each.name}</span><span class="value">${each.value}${each.remedy && html`<br /><span class="remedy">${each.remedy}</span>`}</span></li>`)}</ul></${Panel}>`;
}

function notifiedText(notified) {
  if (!notified) return "no maintenance now";
  if (!notified.available) return notified.reason;
  const last = notified.events?.at(0);
  if (!last) return "no alert was due yet";
  return html`<${Instant} ms=${last.at} />: ${verdictText(last.verdict)}`;
}

function Config({ monitor }) {
  return html`<${Panel} title="Specification" aside=${`version ${monitor.version}, by ${monitor.origin}`}><${Json} value=${monitor.spec} /></${Panel}>`;
}

const BY_ORIGIN = { signup: "A signup, or its plan", command: "A command" };

/** Which fields of the specification changed, by whichever way, the latest first; and who asked, where that was over HTTP. */
function Edits({ monitor, path }) {
  const { user_id: user, monitor_id: id, version } = monitor;
  const found = useGet(path("/changes"));
  const audit = useGet(has("GET /v1/audit") ? "/v1/audit" : null, { user, monitor: id, limit: 100 });
  useEffect(() => {
    if (found.data) found.reload();
    if (audit.data) audit.reload();
  }, [version]);
  const edits = found.data?.items ?? [];
  if (!edits.length) return null;
  const asked = (audit.data?.items ?? []).filter((each) => each.change && each.status < 300);
  const by = ({ at, fields }) => asked.find((each) => Math.abs(each.at - at) < TOLD_WITHIN_MS && JSON.stringify(changesOf(each)) === JSON.stringify(fields));
  return html`<${Panel} title="Changes of the specification" aside=${audit.data && html`<a class="link" href=${to(["audit"], { user, monitor: id })}>Audit</a>`}><ol class="edits" aria-label="Changes of the specification">${edits.map((each) => {
    const entry = by(each);
    return html`<li key=${each.version}>
      <p class="row"><span class="clip grow"><b>${entry ? entry.token_name || entry.token_id : BY_ORIGIN[each.origin]}</b> <span class="faint">made version ${each.version}</span></span><span class="faint nowrap"><${Instant} ms=${each.at} /></span></p><${SpecChanges} fields=${each.fields} />
    </li>`;
  })}</ol></${Panel}>`;
}
