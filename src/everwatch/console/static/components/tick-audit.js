// Runs of the tick audit: whether every tick that was due ran, and none counts twice.
import { html } from "../app/html.js";
import { write } from "../app/api.js";
import { useGet } from "../app/load.js";
import { count, plural } from "../app/format.js";
import { to } from "../app/router.js";
import { ask } from "./dialog.js";
import { Field } from "./form.js";
import { Icon } from "./icon.js";
import { Loaded } from "./notice.js";
import { Panel } from "./panel.js";
import { State } from "./state.js";
import { Table } from "./table.js";
import { Ago, Instant } from "./time.js";
import { toast } from "./toast.js";

const RUNS = "/v1/audit/runs";
const EVERY_MS = 2_000;
const SPANS = [["1", "the last hour"], ["6", "the last 6 hours"], ["24", "the last day"], ["168", "the last week"]];

function Body({ values }) {
  return html`<p class="muted">What was due by the schedules is computed anew and compared with the stored results, in the background.</p>
    <div class="fields"><${Field} label="Ticks of">${(id) => html`<select class="select" id=${id} onChange=${(event) => (values.hours = event.target.value)}>${SPANS.map(([hours, text]) => html`<option key=${hours} value=${hours} selected=${hours === values.hours}>${text}</option>`)}</select>`}</${Field}>
    <${Field} label="User" hint="The whole id; empty: of all">${(id) => html`<input class="input" id=${id} maxLength="200" value=${values.user} onInput=${(event) => (values.user = event.target.value.trim())} />`}</${Field}></div>`;
}

function begin(user, done) {
  ask({
    title: "Audit of ticks", action: "Begin", body: Body, given: { hours: "1", user },
    submit: async (values) => {
      await write("POST", RUNS, { body: { since: Date.now() - Number(values.hours) * 3_600_000, user: values.user } });
      toast("The audit has begun.");
      done();
    },
  });
}

function Found({ run }) {
  if (run.problem) return html`<span class="bad">${run.problem}</span>`;
  if (!run.report) return html`<span class="muted">${plural(run.results_read, "result")} read so far</span>`;
  const { counts, monitors } = run.report;
  const some = Object.entries(counts).filter(([, n]) => n).map(([label, n]) => `${count(n)} ${label.replaceAll("_", " ")}`).join(", ");
  return html`<span class="two"><span class=${run.clean ? "ok" : "bad"}>${run.clean ? "Nothing missed, nothing twice" : `${count(counts.missed ?? 0)} missed, ${count(counts.duplicate ?? 0)} twice`}</span><span class="small faint" title=${some}>${plural(monitors, "monitor")}: ${some || "no ticks"}</span></span>`;
}

/** The first ticks that were missed or counted twice. */
function Faults({ run }) {
  const rows = [...run.report.missed.map((each) => ({ ...each, what: "missed" })), ...run.report.duplicates.map((each) => ({ ...each, what: "twice" }))];
  if (!rows.length) return null;
  return html`<${Table} label="Ticks that were missed or counted twice" rows=${rows} keyOf=${(each) => `${each.what}\n${each.user_id}\n${each.monitor_id}\n${each.instant}`} columns=${[
    { id: "what", label: "What", width: "w-m", cell: (each) => html`<span class="bad">${each.what}</span>` },
    { id: "monitor", label: "Monitor", cell: (each) => html`<a class="name" href=${to(["users", each.user_id, "monitors", each.monitor_id])}>${each.monitor_id}</a> <span class="faint">${each.user_id}</span>` },
    { id: "due", label: "Due", width: "w-m", num: true, cell: (each) => html`<${Instant} ms=${each.instant} />` },
    { id: "why", label: "Why", wrap: true, narrow: false, cell: (each) => html`<span class="muted">${each.reason}</span>` },
  ]} />`;
}

export function TickAudits({ user }) {
  const list = useGet(RUNS, undefined, { every: EVERY_MS });
  const latest = list.data?.items.find((each) => each.report);
  return html`<${Panel} title="Audit of ticks" aside=${html`<button class="button" type="button" onClick=${() => begin(user, list.reload)}><${Icon} name="play" size="14" />New audit</button>`}>
    <${Loaded} of=${list} lines="2">${({ items }) => (items.length === 0
      ? html`<p class="body small muted">None yet. An audit says whether every tick that was due ran, and none counts twice, as <code>everwatch audit</code> does.</p>`
      : html`<${Table} label="Audits of ticks" rows=${items} keyOf=${(each) => each.run_id} tall columns=${[
          { id: "state", label: "State", width: "w-icon-wide", cell: (each) => html`<${State} state=${each.state} />` },
          { id: "found", label: "Found", cell: (each) => html`<${Found} run=${each} />` },
          { id: "of", label: "Of", width: "w-xl", narrow: false, cell: (each) => html`<span class="two"><span>${each.user || "all users"}</span><span class="small faint"><${Instant} ms=${each.since} /> to <${Instant} ms=${each.until} /></span></span>` },
          { id: "by", label: "By", width: "w-m", narrow: false, wide: true, cell: (each) => html`<span class="two"><span>${each.created_by}</span><span class="small faint"><${Ago} ms=${each.created_at} /></span></span>` },
        ]} />${latest && html`<${Faults} run=${latest} />`}`)}</${Loaded}></${Panel}>`;
}
