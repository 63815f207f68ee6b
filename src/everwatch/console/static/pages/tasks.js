// Delayed tasks: what is overdue, what is due next, what is over.
import { html, useMemo } from "../app/html.js";
import { useGet } from "../app/load.js";
import { userPath, write } from "../app/api.js";
import { count, now, plural } from "../app/format.js";
import { query, setQuery, to } from "../app/router.js";
import { may } from "../app/session.js";
import { each } from "../app/some-at-once.js";
import { Histogram } from "../components/chart.js";
import { Segments } from "../components/form.js";
import { ask } from "../components/dialog.js";
import { Icon } from "../components/icon.js";
import { Empty, Loaded } from "../components/notice.js";
import { Panel } from "../components/panel.js";
import { State, wordOf } from "../components/state.js";
import { Pager, Table, useSelection } from "../components/table.js";
import { Ago, Instant } from "../components/time.js";
import { toast } from "../components/toast.js";
import { Views } from "../components/views.js";
import { UserFilter } from "../components/user-filter.js";

const PAGE = 50;
const STATUSES = ["pending", "running", "done", "failed", "cancelled"];
// what is over is older than all that is due: it would stand before what is overdue
const [FIRST, ALL] = ["pending", "all"];
const MOST_IN_HOUR = 500;

export function Tasks() {
  const { status = FIRST, user = "", cursor = "" } = query.value;
  const list = useGet("/v1/tasks", { status: status === ALL ? "" : status, user, cursor, limit: PAGE }, { every: cursor ? 0 : 10_000 });
  return html`
    <div class="page-head"><h1>Tasks</h1><span class="sub">delayed tasks, those due first</span></div>
    <${NextHour} user=${user} />
    <div class="filters">
      <${Segments} label="Status" value=${status} set=${(each) => setQuery({ status: each === FIRST ? "" : each })} options=${[...STATUSES.map((each) => [each, wordOf(each)]), [ALL, "All"]]} />
      <${UserFilter} value=${user} set=${(each) => setQuery({ user: each }, { replace: true })} />
      <${Views} page="tasks" />
    </div>
    <section class="panel" aria-label="Tasks"><${Loaded} of=${list} lines="10">${({ items, next }) => items.length === 0 && !cursor
      ? html`<${Empty} title="No tasks" icon="tasks">${status !== FIRST || user ? "No task fits these filters." : html`A delayed task is a check or a call that runs once, at an instant. Make one with <code>everwatch task create</code>, or with POST /v1/users/USER/tasks.`}</${Empty}>`
      : html`<${TaskTable} items=${items} withUser keyboard reload=${list.reload} /><${Pager} shown=${items.length} cursor=${cursor} next=${next} setQuery=${setQuery} what=${items.length === 1 ? "task" : "tasks"} />`}</${Loaded}></section>`;
}

function NextHour({ user }) {
  const begin = Math.floor(now.value / 60_000) * 60_000;
  const due = useGet("/v1/tasks", { status: "pending", user, since: begin, until: begin + 3_600_000, limit: MOST_IN_HOUR });
  const minutes = useMemo(() => {
    const found = Array.from({ length: 60 }, () => 0);
    for (const each of due.data?.items ?? []) found[Math.min(59, Math.max(0, Math.floor((each.due_at - begin) / 60_000)))] += 1;
    return found;
  }, [due.data]);
  const all = due.data?.items.length ?? 0;
  if (!all) return null;
  return html`<${Panel} title="Due in the next hour" pad aside=${`${count(all)}${due.data.next ? " or more" : ""}`}>
    <${Histogram} values=${minutes} label=${`${all} tasks are due in the next hour`} />
    <div class="flow-foot"><span>now</span><span>at most ${plural(Math.max(...minutes), "task")} in a minute</span><span>in 1 h</span></div>
  </${Panel}>`;
}

const keyOf = (task) => `${task.user_id}\n${task.task_id}`;

/** Ask whether these tasks are to be cancelled, and cancel them, some at once. */
function cancel(tasks, done) {
  const what = tasks.length === 1 ? tasks[0].task_id : plural(tasks.length, "task");
  ask({
    title: `Cancel ${what}`, action: tasks.length === 1 ? "Cancel the task" : "Cancel the tasks", danger: true,
    body: () => html`<p class="muted">${tasks.length === 1 ? "The task does not run. It stays" : "The tasks do not run. They stay"} in this list as cancelled.</p>`,
    submit: async () => {
      const refused = await each(tasks, (task) => write("DELETE", userPath(task.user_id, `/tasks/${encodeURIComponent(task.task_id)}`)));
      if (tasks.length > refused.length) toast(tasks.length === 1 ? `${what} is cancelled.` : `${plural(tasks.length - refused.length, "task")} cancelled.`);
      done();
      if (refused.length) throw refused[0];
    },
  });
}

export function TaskTable({ items, withUser = false, reload, keyboard = false }) {
  const selection = useSelection(items.map(keyOf).join());
  const pending = items.filter((task) => selection.has(keyOf(task)) && task.status === "pending");
  const done = () => {
    selection.clear();
    reload();
  };
  return html`${pending.length > 0 && html`<div class="bulk" role="toolbar" aria-label="Selected tasks"><b>${pending.length} selected</b><button class="button danger" type="button" onClick=${() => cancel(pending, done)}><${Icon} name="skipped" size="14" />Cancel</button><button class="button plain" type="button" onClick=${selection.clear}>Clear</button></div>`}
  <${Table} label="Tasks" rows=${items} keyOf=${keyOf} keyboard=${keyboard} selection=${keyboard && may("write") ? selection : undefined} tall columns=${[
    { id: "status", label: "Status", width: "w-status", cell: (each) => html`<${State} state=${each.paused ? "paused" : each.status} outcome=${each.outcome} />` },
    { id: "task", label: "Task", cell: (each) => html`<span class="two"><span class="name">${each.task_id}</span>${each.reason ? html`<span class="small faint" title=${each.reason}>${each.reason}</span>` : html`<span class="small faint">${each.kind}${each.created_at > 0 && html`, made <${Ago} ms=${each.created_at} />`}</span>`}</span>` },
    withUser && { id: "user", label: "User", width: "w-user", narrow: false, cell: (each) => html`<a href=${to(["users", each.user_id])}>${each.user_id}</a>` },
    { id: "due", label: "Due", width: "w-m", num: true, narrow: false, cell: (each) => html`<${Instant} ms=${each.due_at} />` },
    { id: "in", label: "When", width: "w-when", num: true, cell: (each) => (each.status === "pending" && !each.paused && each.due_at < now.value ? html`<span class="warn"><span class="not-narrow">overdue </span><${Ago} ms=${each.due_at} suffix=${false} /></span>` : html`<${Ago} ms=${each.ended_at || each.due_at} />`) },
    may("write") && { id: "cancel", label: "", width: "w-act", num: true, narrow: false, cell: (each) => each.status === "pending" && html`<button class="button plain" type="button" onClick=${() => cancel([each], reload)}>Cancel</button>` },
  ]} />`;
}
