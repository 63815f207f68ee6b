// The audit log: who changed what over HTTP, when, from where, and what came of it.
import { html } from "../app/html.js";
import { useGet } from "../app/load.js";
import { query, setQuery, to } from "../app/router.js";
import { has } from "../app/session.js";
import { Choice } from "../components/form.js";
import { Empty, Loaded } from "../components/notice.js";
import { SpecChanges } from "../components/spec-changes.js";
import { Pager, Table } from "../components/table.js";
import { TickAudits } from "../components/tick-audit.js";
import { Instant } from "../components/time.js";
import { UserFilter } from "../components/user-filter.js";

const PAGE = 50;
const RANGES = [["", "Any time"], ["1", "Last hour"], ["24", "Last day"], ["168", "Last week"]];
const went = (each) => each.status < 300 || each.status === 303;

// what the id of an entry without a user is of, by the end of its command
const NAMED = ["silence", "view", "token"];

const WORDS = { ack: "acknowledge", put: "save", run: "run now" };

/** What was done, in words; a job says what it does. */
const wordsOf = ({ command, outcome, status }) => WORDS[command] ?? (command === "job" && status < 300 ? `job: ${outcome}` : command).replaceAll("_", " ");

function Subject({ entry }) {
  if (/_?job$/.test(entry.command)) return html`<a class="name" href=${to(["jobs"], { job: entry.command_id })}>job ${entry.command_id.slice(0, 8)}</a>`;
  if (!entry.user_id) return entry.command_id ? html`<span class="muted">${NAMED.find((end) => entry.command.endsWith(end)) ?? "token"} ${entry.command_id.slice(0, 8)}</span>` : html`<span class="faint">–</span>`;
  const user = to(["users", entry.user_id]);
  if (!entry.monitor_id) return html`<a class="name" href=${user}>${entry.user_id}</a>`;
  return html`<span class="two"><a class="name" href=${to(["users", entry.user_id, "monitors", entry.monitor_id])}>${entry.monitor_id}</a><a class="small faint" href=${user}>${entry.user_id}</a></span>`;
}

export function Audit() {
  const { user = "", monitor = "", token = "", hours = "", cursor = "" } = query.value;
  // whole minutes, so that a page and its cursor belong to one list
  const since = hours ? Math.floor(Date.now() / 60_000 - Number(hours) * 60) * 60_000 : "";
  const list = useGet("/v1/audit", { user, monitor: user && monitor, token, since: cursor ? query.value.since : since, cursor, limit: PAGE });
  return html`
    <div class="page-head"><h1>Audit</h1><span class="sub">who changed what over HTTP, the latest first</span></div>
    <div class="filters">
      <${UserFilter} value=${user} set=${(each) => setQuery({ user: each, monitor: "" }, { replace: true })} />
      <${Choice} label="Time" value=${hours} set=${(each) => setQuery({ hours: each })} options=${RANGES} />
      ${user && monitor && html`<button class="tag" type="button" onClick=${() => setQuery({ monitor: "" })}>monitor ${monitor} ×</button>`}
      ${token && html`<button class="tag" type="button" onClick=${() => setQuery({ token: "" })}>by ${list.data?.items[0]?.token_name || `token ${token}`} ×</button>`}
    </div>
    <section class="panel" aria-label="Audit log"><${Loaded} of=${list} lines="10">${({ items, next }) => items.length === 0 && !cursor
      ? html`<${Empty} title="Nothing was changed over HTTP" icon="audit">No entry fits these filters. Commands that were sent by Kafka are not here: a monitor's page says why it was paused, and by whom where the command says so.</${Empty}>`
      : html`<${Table} label="Changes over HTTP" rows=${items} keyOf=${(each) => each.entry_id} tall columns=${[
          { id: "at", label: "At", width: "w-m", narrow: false, cell: (each) => html`<span class="muted"><${Instant} ms=${each.at} /></span>` },
          { id: "who", label: "Who", width: "w-who", cell: (each) => html`<span class="two"><a class="name" href=${to(["audit"], { token: each.token_id })} title=${`Changes by token ${each.token_id}`}>${each.token_name || each.token_id || "–"}</a><span class="small faint not-narrow">${each.role}</span><span class=${`small narrow-only ${went(each) ? "faint" : "bad"}`}>${wordsOf(each)} · <${Instant} ms=${each.at} /></span></span>` },
          { id: "what", label: "What", width: "w-m", narrow: false, cell: (each) => html`<span title=${each.route} class=${went(each) ? "" : "bad"}>${wordsOf(each)}</span>` },
          { id: "of", label: "Of", cell: (each) => html`<${Subject} entry=${each} /><${SpecChanges} entry=${each} />`, wrap: true },
          { id: "outcome", label: "Outcome", width: "w-m", narrow: false, cell: (each) => html`<span class=${went(each) ? "" : "bad"} title=${`HTTP ${each.status}, request ${each.request_id}`}>${each.command === "job" && went(each) ? "accepted" : each.outcome.replaceAll("_", " ")}</span>` },
          { id: "from", label: "From", width: "w-m", narrow: false, wide: true, cell: (each) => html`<span class="muted" title=${each.forwarded_for && `by ${each.address}`}>${each.forwarded_for || each.address}</span>` },
        ]} /><${Pager} shown=${items.length} cursor=${cursor} next=${next} setQuery=${(changes, options) => setQuery({ ...changes, since: changes.cursor ? since || query.value.since : "" }, options)} what=${items.length === 1 ? "change" : "changes"} />`}</${Loaded}></section>
    ${has("POST /v1/audit/runs") && html`<${TickAudits} user=${user} />`}`;
}
