// Notifications: what was sent to whom, what waits, what could not be delivered and why.
import { html } from "../app/html.js";
import { request } from "../app/api.js";
import { useGet } from "../app/load.js";
import { plural } from "../app/format.js";
import { query, setQuery, to } from "../app/router.js";
import { has, may } from "../app/session.js";
import { ask } from "../components/dialog.js";
import { Field, Segments } from "../components/form.js";
import { Icon } from "../components/icon.js";
import { Empty, Loaded } from "../components/notice.js";
import { Panel } from "../components/panel.js";
import { State, wordOf } from "../components/state.js";
import { Table } from "../components/table.js";
import { Ago, Instant } from "../components/time.js";
import { toast } from "../components/toast.js";
import { UserFilter } from "../components/user-filter.js";

const MOST = 100;

export function Notifications() {
  const { user = "", state = "", route = "" } = query.value;
  const list = useGet("/v1/deliveries", { user, state, route, limit: MOST }, { every: 10_000 });
  const states = [...new Set([...(list.data?.items ?? []).map((each) => each.state), ...(state ? [state] : [])])].sort();
  return html`
    <div class="page-head"><h1>Notifications</h1><span class="sub">the latest first</span>
      ${may("run") && has("POST /v1/deliveries/replay") && html`<div class="end"><button class="button" type="button" onClick=${() => replay({ user, route }, list.reload)}><${Icon} name="bell" size="14" />Send again…</button></div>`}</div>
    <div class="filters">
      ${states.length > 0 && html`<${Segments} label="State" value=${state} set=${(each) => setQuery({ state: each })} options=${[["", "All"], ...states.map((each) => [each, wordOf(each)])]} />`}
      <${UserFilter} value=${user} set=${(each) => setQuery({ user: each }, { replace: true })} />
      ${route && html`<button class="tag" type="button" onClick=${() => setQuery({ route: "" })}>route ${route} ×</button>`}
    </div>
    ${has("GET /v1/channels") && html`<${Channels} />`}
    <section class="panel" aria-label="Deliveries"><${Loaded} of=${list} lines="8">${({ available, reason, items }) => {
      if (available === false) return html`<${Empty} title="Deliveries are not known" icon="bell">The API says: ${reason}. Start a notifier with <code>everwatch notifier</code>; it keeps them.</${Empty}>`;
      if (!items.length) return html`<${Empty} title="Nothing was sent" icon="bell">${user || state || route ? "No delivery fits these filters." : html`Deliveries appear when a notifier runs and a route fits: see <code>everwatch notify --help</code>.`}</${Empty}>`;
      return html`<${Table} label="Deliveries" rows=${items} keyOf=${(each) => each.delivery_id} tall columns=${[
        { id: "state", label: "State", width: "w-status", cell: (each) => html`<${State} state=${each.state} />` },
        { id: "what", label: "What", cell: (each) => html`<span class="two"><span class="name" title=${each.summary}>${each.summary}</span><span class="small faint" title=${`${each.sender} to ${each.target}: ${each.reason}`}>${each.state === "sent" || !each.reason ? `${each.sender} to ${each.target}` : each.reason}</span></span>` },
        { id: "user", label: "To", width: "w-user", narrow: false, cell: (each) => (each.user_id ? html`<a href=${to(["users", each.user_id])}>${each.user_id}</a>` : html`<span class="faint">operators</span>`) },
        { id: "route", label: "Route", width: "w-m", narrow: false, cell: (each) => html`<button class="tag" type="button" onClick=${() => setQuery({ route: each.route })}>${each.route}</button>` },
        { id: "attempt", label: "Attempt", width: "w-s", narrow: false, wide: true, num: true, cell: (each) => (each.attempt > 1 ? each.attempt : html`<span class="faint">${each.attempt}</span>`) },
        { id: "at", label: "At", width: "w-m", num: true, cell: (each) => (each.settled_at ? html`<${Instant} ms=${each.settled_at} />` : html`due <${Ago} ms=${each.due_at} />`) },
      ]} />`;
    }}</${Loaded}></section>`;
}

function Channels() {
  const channels = useGet("/v1/channels", null, { every: 30_000 });
  const items = channels.data?.items ?? [];
  if (!items.length) return null;
  return html`<${Panel} title="Addresses that were given up"><${Table} label="Addresses that were given up" rows=${items} keyOf=${(each) => `${each.route}\n${each.user_id}\n${each.target}`} tall columns=${[
    { id: "target", label: "Address", cell: (each) => html`<span class="two"><span class="name">${each.target}</span><span class="small faint" title=${each.reason}>${each.reason}</span></span>` },
    { id: "user", label: "To", width: "w-user", narrow: false, cell: (each) => (each.user_id ? html`<a href=${to(["users", each.user_id])}>${each.user_id}</a>` : html`<span class="faint">operators</span>`) },
    { id: "route", label: "Route", width: "w-m", narrow: false, cell: (each) => each.route },
    { id: "failures", label: "Failures", width: "w-s", num: true, cell: (each) => each.failures },
    { id: "since", label: "Since", width: "w-m", num: true, narrow: false, cell: (each) => html`<${Instant} ms=${each.failing_since} />` },
  ]} /></${Panel}>`;
}

const REPLAYED = [["dead", "were given up"], ["sent", "were sent, and a receiver has lost"], ["skipped", "were left out, as while an address was given up"]];
const SINCE = [["1", "the last hour"], ["6", "the last 6 hours"], ["24", "the last day"], ["168", "the last week"]];

function ReplayBody({ values }) {
  const choice = (name, options) => (id) => html`<select class="select" id=${id} onChange=${(event) => (values[name] = event.target.value)}>${options.map(([value, text]) => html`<option key=${value} value=${value} selected=${value === values[name]}>${text}</option>`)}</select>`;
  const text = (name) => (id) => html`<input class="input" id=${id} maxLength="200" value=${values[name]} onInput=${(event) => (values[name] = event.target.value.trim())} />`;
  return html`<p class="muted">Each message keeps its id, so that a receiver that knows it already can leave it out.</p>
    <div class="fields"><${Field} label="Messages that">${choice("state", REPLAYED)}</${Field}><${Field} label="Of">${choice("hours", SINCE)}</${Field}>
      <${Field} label="User" hint="The whole id; empty: of all">${text("user")}</${Field}><${Field} label="Route" hint="Its name; empty: all">${text("route")}</${Field}></div>`;
}

/** Ask which messages are to be sent again; how many they are is shown first, if that is wanted. */
function replay({ user, route }, done) {
  const bodyOf = ({ state, hours, ...rest }) => ({ state, user: rest.user, route: rest.route, since: Date.now() - Number(hours) * 3_600_000 });
  ask({
    title: "Send messages again", action: "Send", body: ReplayBody, wide: true, given: { state: "dead", hours: "24", user, route },
    attempt: { label: "Preview", act: async (values) => html`<div class="trial"><p><b>${plural((await request("POST", "/v1/deliveries/replay", { body: { ...bodyOf(values), dry_run: true } })).data.messages, "message")}</b> would be sent again.</p></div>` },
    submit: async (values) => {
      const { data } = await request("POST", "/v1/deliveries/replay", { body: bodyOf(values) });
      toast(data.messages ? `${plural(data.messages, "message")} sent again; the notifier sends them now.` : "No message fits.");
      done();
    },
  });
}
