// Bulk jobs: how far each has come, which monitors refused it, and an end to those that run.
import { html } from "../app/html.js";
import { request } from "../app/api.js";
import { useGet } from "../app/load.js";
import { count, plural } from "../app/format.js";
import { query, setQuery, to } from "../app/router.js";
import { actionName, canRunJobs, wordsOf } from "../app/job-actions.js";
import { Action } from "../components/form.js";
import { Empty, Loaded } from "../components/notice.js";
import { Panel } from "../components/panel.js";
import { State } from "../components/state.js";
import { Table } from "../components/table.js";
import { Ago } from "../components/time.js";
import { told } from "../components/toast.js";

const EVERY_MS = 2_000;

export function Jobs() {
  const { job = "" } = query.value;
  const list = useGet("/v1/jobs", undefined, { every: EVERY_MS });
  const cancel = async (each) => {
    if (await told("The job goes no further; what it has done stays.", () => request("DELETE", `/v1/jobs/${each.job_id}`))) list.reload();
  };
  return html`
    <div class="page-head"><h1>Jobs</h1><span class="sub">one thing done to many monitors, the latest first</span></div>
    <section class="panel" aria-label="Jobs"><${Loaded} of=${list} lines="6">${({ items }) => (items.length === 0
      ? html`<${Empty} title="No jobs" icon="play">A job pauses, resumes, runs or deletes all monitors that a filter has. Begin one on <a class="link" href=${to(["monitors"])}>Monitors</a>, with <b>Bulk job</b>.</${Empty}>`
      : html`<${Table} label="Jobs" rows=${items} keyOf=${(each) => each.job_id} tall columns=${[
          { id: "state", label: "State", width: "w-icon-wide", cell: (each) => html`<${State} state=${each.state} />` },
          { id: "what", label: "What", cell: (each) => html`<span class="two"><span class="name">${actionName(each.action)}</span><span class="small faint" title=${wordsOf(each.filter)}><span class="narrow-only">${count(each.done + each.refused)} of ${count(each.total)}, </span>${wordsOf(each.filter)}</span></span>` },
          { id: "progress", label: "Progress", width: "w-l", narrow: false, cell: (each) => html`<${Progress} job=${each} />` },
          { id: "refused", label: "Refused", width: "w-s", num: true, narrow: false, cell: (each) => (each.refused ? html`<button class="link" type="button" onClick=${() => setQuery({ job: job === each.job_id ? "" : each.job_id })}>${count(each.refused)}</button>` : "0") },
          { id: "by", label: "By", width: "w-m", narrow: false, cell: (each) => html`<span class="two"><span>${each.created_by}</span><span class="small faint"><${Ago} ms=${each.created_at} /></span></span>` },
          canRunJobs() && { id: "act", label: "", width: "w-act", num: true, cell: (each) => each.state === "running" && html`<${Action} act=${() => cancel(each)}>Cancel</${Action}>` },
        ]} />`)}</${Loaded}></section>
    ${job && html`<${Refusals} job=${job} />`}`;
}

function Progress({ job }) {
  const over = job.done + job.refused;
  const share = job.total ? Math.min(100, Math.round((over / job.total) * 100)) : 100;
  return html`<span class="two"><progress max=${Math.max(job.total, 1)} value=${over} aria-label="Monitors that were dealt with"></progress><span class="small faint">${count(over)} of ${count(job.total)}${job.state === "running" ? `, ${share} %` : ""}</span></span>`;
}

function Refusals({ job }) {
  const list = useGet(`/v1/jobs/${encodeURIComponent(job)}/errors`);
  return html`<${Panel} title="Monitors that refused it" aside=${list.data && plural(list.data.items.length, "monitor")}><${Loaded} of=${list}>${({ items }) => html`<${Table} label="Refusals" rows=${items} keyOf=${(each) => each.command_id} tall columns=${[
    { id: "monitor", label: "Monitor", width: "w-xl", cell: (each) => html`<span class="two"><a class="name" href=${to(["users", each.user_id, "monitors", each.monitor_id])}>${each.monitor_id}</a><span class="small faint">${each.user_id}</span></span>` },
    { id: "why", label: "Why", wrap: true, cell: (each) => each.reason },
    { id: "code", label: "Code", width: "w-m", narrow: false, cell: (each) => html`<code>${each.code}</code>` },
  ]} />`}</${Loaded}></${Panel}>`;
}
