// Routes of the notification rules: which alerts each takes, in which order, and which of them would take one monitor's (the API says).
import { html } from "../app/html.js";
import { useGet } from "../app/load.js";
import { duration } from "../app/format.js";
import { query, setQuery, to } from "../app/router.js";
import { Search } from "../components/form.js";
import { Icon } from "../components/icon.js";
import { Empty, Failure, Loaded } from "../components/notice.js";
import { Table } from "../components/table.js";

const LISTS = ["plan", "user", "kind", "target", "severity"];

/** The conditions of a route in words: ``[["plan", "pro or free"], …]``; none: it takes every alert. */
const conditionsOf = (match) => [
  ...LISTS.filter((name) => match[name]?.length).map((name) => [name, match[name].join(" or ")]),
  ...Object.entries(match.label ?? {}).map(([key, value]) => ["label", `${key}=${value}`]),
];

export function Routes() {
  const { user = "", monitor = "" } = query.value;
  const list = useGet("/v1/routes", null, { every: 30_000 });
  const tried = useGet(user && monitor ? "/v1/routes" : null, { user, monitor });
  return html`
    <div class="page-head"><h1>Routes</h1><span class="sub">of the notification rules, in the order in which an alert is offered to them</span></div>
    <div class="filters">
      <${Search} main value=${user} set=${(each) => setQuery({ user: each }, { replace: true })} label="Who is told? The user (whole id)" />
      <${Search} value=${monitor} set=${(each) => setQuery({ monitor: each }, { replace: true })} label="Its monitor (whole id)" />
    </div>
    <${Loaded} of=${list} lines="5">${({ available, reason, items }) => {
      if (available === false) return html`<section class="panel"><${Empty} title="The routes are not known" icon="routes">The API says: ${reason}. Start a notifier with <code>everwatch notifier</code>; it says which rules it goes by.</${Empty}></section>`;
      if (!items.length) return html`<section class="panel"><${Empty} title="There are no routes" icon="routes">Nobody is told of anything. Write rules and name their file in <code>EVERWATCH_NOTIFY_FILE</code>.</${Empty}></section>`;
      const found = tried.data ? new Map(tried.data.items.map((each) => [each.route, each])) : null;
      return html`<div class="stack">
        ${(user || monitor) && html`<${Answer} tried=${tried} user=${user} monitor=${monitor} found=${found} />`}
        <section class="panel" aria-label="Routes"><${Table} label="Routes" rows=${items} keyOf=${(each) => each.route} tall columns=${[
          { id: "order", label: "", width: "w-number", num: true, cell: (each) => html`<span class="faint">${items.indexOf(each) + 1}</span>` },
          { id: "route", label: "Route", width: "w-l", cell: (each) => html`<span class="two"><a class="name" href=${to(["notifications"], { route: each.route })} title="What it sent">${each.route}</a><span class="small faint">${each.sender}</span></span>` },
          { id: "for", label: "For", width: "w-m", narrow: false, cell: (each) => (each.for === "users" ? "each user" : each.for) },
          found && { id: "verdict", label: "This alert", width: "w-verdict", wrap: true, cell: (each) => html`<${Verdict} of=${found.get(each.route)} />` },
          { id: "takes", label: "Takes", wrap: true, narrow: !found, cell: (each) => html`<${Conditions} match=${each.match} />` },
          { id: "when", label: "When", width: "w-l", narrow: false, wide: true, cell: (each) => html`<span class="muted" title=${`Alerts are collected for ${duration(each.group_wait_ms)}, and for ${duration(each.group_interval_ms)} after a message`}>${each.min_down_ms ? `${duration(each.min_down_ms)} after it went down` : "at once"}${each.group_interval_ms ? html`, <span class="nowrap">then each ${duration(each.group_interval_ms)}</span>` : ""}</span>` },
          { id: "then", label: "Then", width: "w-m", narrow: false, cell: (each) => (each.continue ? html`<span class="muted">goes on</span>` : html`<span class="muted">ends here</span>`) },
        ]} /></section>
        <p class="small faint">Of each audience the first route that fits takes an alert; where it goes on, the next one that fits gets it, too. Routes that wait for an acknowledgement (escalations) take it besides.</p>
      </div>`;
    }}</${Loaded}>`;
}

function Conditions({ match }) {
  const all = conditionsOf(match);
  return all.length ? html`<span class="tags">${all.map(([name, text]) => html`<span class="tag" key=${name + text}><span class="faint">${name}</span> ${text}</span>`)}</span>` : html`<span class="muted">every alert</span>`;
}

function Verdict({ of }) {
  if (!of) return null;
  return of.takes ? html`<span class="ok row"><${Icon} name="up" size="14" /> takes it</span>` : html`<span class="faint">no: ${of.reason}</span>`;
}

function Answer({ tried, user, monitor, found }) {
  if (!user || !monitor) return html`<p class="muted">Name ${user ? "one of the user's monitors" : "the user"}, too: the routes then say which of them take its alert.</p>`;
  if (tried.error) return tried.error.status === 404 ? html`<section class="panel"><${Empty} title="There is no such monitor" icon="monitors">No user <b>${user}</b> with a monitor <b>${monitor}</b> is registered.</${Empty}></section>` : html`<${Failure} error=${tried.error} />`;
  if (!found) return null;
  const names = [...found.values()].filter((each) => each.takes).map((each) => each.route);
  return html`<section class="panel" aria-label="Who is told"><div class="body told"><span class=${names.length ? "ok" : "warn"}><${Icon} name=${names.length ? "bell" : "incidents"} /></span><p>
    An alert of <a class="link" href=${to(["users", user, "monitors", monitor])}>${monitor}</a> ${names.length ? html`goes to ${names.map((each, i) => html`${i ? (i === names.length - 1 ? " and " : ", ") : ""}<b>${each}</b>`)}` : html`<b>goes to nobody</b>: no route takes it`}.
    <span class="faint"> Maintenance and silences are not counted in: the monitor's page says what became of the last alerts.</span></p></div></section>`;
}
