// One incident: what happened in its order, who has seen it, and what people wrote on it.
import { html, useEffect, useMemo, useState } from "../app/html.js";
import { monitorPath, write } from "../app/api.js";
import { useGet, useThrottled } from "../app/load.js";
import { useLive } from "../app/live.js";
import { acknowledge, resolve, snooze, withdraw } from "../app/incident-actions.js";
import { plural, verdictText } from "../app/format.js";
import { to } from "../app/router.js";
import { has, may } from "../app/session.js";
import { Ack } from "../components/ack.js";
import { Action, Field } from "../components/form.js";
import { Icon } from "../components/icon.js";
import { Empty, Loaded } from "../components/notice.js";
import { Panel } from "../components/panel.js";
import { lookOf, wordOf, shownOfIncident, State } from "../components/state.js";
import { Ago, Instant } from "../components/time.js";
import { told } from "../components/toast.js";

const ROUTE = "/v1/incidents/{incident_id}";
const LONGEST = 2_000;

export function IncidentPage({ incident: incidentId }) {
  const path = (rest = "") => `/v1/incidents/${encodeURIComponent(incidentId)}${rest}`;
  const incident = useGet(path(), null, { every: 15_000 });
  const { user_id: user, monitor_id: monitor } = incident.data ?? {};
  const changes = useGet(user ? monitorPath(user, monitor, "/notifications") : null);
  const found = useGet(user && monitor ? monitorPath(user, monitor) : null);
  const name = found.data?.spec.name || monitor;
  const done = () => [incident, changes].forEach((each) => each.reload());
  const soon = useThrottled(done, 1_000);
  useLive(user ? { user, monitor } : null, (kind) => kind === "transition" && soon());
  useEffect(() => {
    document.title = `${monitor ? `Incident of ${name}` : "Incident"} · Everwatch`;
  }, [name]);
  return html`
    <div class="crumbs"><a href=${to(["incidents"])}>Incidents</a><span>/</span><span class="clip">${monitor ?? incidentId}</span></div>
    ${!incident.data && html`<div class="page-head"><h1>Incident</h1></div>`}
    <${Loaded} of=${incident} lines="8">${(data) => html`
      <div class="page-head"><h1 class="clip">${name ?? data.monitor_id}</h1><${State} state=${shownOfIncident(data)} badge /><span class="sub">${data.user_id}</span>
        <div class="end"><${Actions} incident=${data} done=${done} /></div></div>
      ${data.reason && html`<p class="why muted">${data.reason}</p>`}
      ${data.settles_at > 0 && html`<p class="muted">It goes to and fro. No alert is sent until its state has stayed the same for ten minutes, at the earliest <${Ago} ms=${data.settles_at} />.</p>`}
      <div class="columns main-aside">
        <${Panel} title="What happened" aside=${data.phase === "closed" ? "over" : html`<span>for <${Ago} ms=${data.opened_at} suffix=${false} /></span>`}><${Timeline} incident=${data} events=${changes.data?.events ?? []} />
          ${may("run") && has(`POST ${ROUTE}/comments`) && html`<${Comment} path=${path("/comments")} done=${incident.reload} />`}
        </${Panel}>
        <${Panel} title="Facts" pad><${Facts} incident=${data} /></${Panel}>
      </div>`}</${Loaded}>`;
}

function Actions({ incident, done }) {
  if (!may("run") || incident.phase === "closed") return null;
  return html`
    ${!incident.ack && html`<${Action} icon="done" act=${() => acknowledge([incident], done)} title="No reminders any more, and no escalation">Acknowledge</${Action}>`}
    <${Action} icon="late" act=${() => snooze([incident], done)} title="No alert for a while">Snooze</${Action}>
    ${incident.ack && html`<${Action} icon="skipped" act=${() => withdraw([incident], done)} title="Reminders and escalations go on">Take back</${Action}>`}
    ${has(`POST ${ROUTE}/resolve`) && html`<button class="button" type="button" title="Nothing more is told of it, until its monitor recovers and fails again" onClick=${() => resolve(incident, done)}><${Icon} name="up" size="14" />Resolve</button>`}`;
}

/** All that is known of it, the earliest first: ``{at, look, icon, what, more}``. */
function stepsOf(incident, events) {
  const { ack } = incident;
  const own = events.filter((each) => each.at >= incident.opened_at);
  const steps = own.map((each) => ({
    at: each.at, look: each.reminder ? "idle" : lookOf(each.to_state), icon: each.reminder ? "bell" : null, state: each.to_state,
    what: each.reminder ? `Reminder: still ${wordOf(each.to_state).toLowerCase()}` : `Was ${wordOf(each.from_state).toLowerCase()}, is ${wordOf(each.to_state).toLowerCase()}`, more: verdictText(each.verdict),
  }));
  if (!own.some((each) => !each.reminder && each.at === incident.opened_at)) steps.push({ at: incident.opened_at, look: "down", icon: "incidents", what: "It began", more: incident.told ? "alerts were sent" : "no alert was sent" });
  if (ack) steps.push({ at: ack.acked_at, look: "fresh", icon: "done", what: html`<${Ack} ack=${ack} />`, more: "" });
  for (const each of incident.comments) steps.push({ at: each.at, look: "idle", icon: "edit", what: html`<b>${each.by || "Somebody"}</b> wrote`, text: each.text });
  if (incident.phase === "closed") steps.push({ at: incident.changed_at, look: "up", icon: "up", what: "It ended", more: "" });
  return steps.sort((one, other) => one.at - other.at);
}

function Timeline({ incident, events }) {
  const steps = useMemo(() => stepsOf(incident, events), [incident, events]);
  if (!steps.length) return html`<${Empty} title="Nothing is known of it" />`;
  return html`<ol class="steps" aria-label="What happened">${steps.map((each, i) => html`<li key=${i}>
    <span class=${`dot is-${each.look}`}><${Icon} name=${each.icon ?? each.state} /></span>
    <span class="said"><span>${each.what}${each.more && html` <span class="faint">${each.more}</span>`}</span>${each.text && html`<span class="text">${each.text}</span>`}</span>
    <span class="faint"><${Instant} ms=${each.at} /></span>
  </li>`)}</ol>`;
}

function Comment({ path, done }) {
  const [text, setText] = useState("");
  const send = async () => {
    if (await told("The comment is written.", () => write("POST", path, { body: { text: text.trim() } }))) {
      setText("");
      done();
    }
  };
  return html`<footer class="comment"><${Field} label="Comment" hint="Everybody who sees the incident sees it.">${(id) => html`<textarea class="textarea text" id=${id} rows="2" maxLength=${LONGEST} value=${text} onInput=${(event) => setText(event.target.value)}></textarea>`}</${Field}>
    <${Action} act=${send} disabled=${!text.trim()}>Write it</${Action}></footer>`;
}

function Facts({ incident }) {
  const monitor = to(["users", incident.user_id, "monitors", incident.monitor_id]);
  return html`<dl class="pairs">
    <dt>Monitor</dt><dd><a class="link" href=${monitor}>${incident.monitor_id}</a>${incident.monitor_kind && html` <span class="faint">${incident.monitor_kind}</span>`}</dd>
    <dt>User</dt><dd><a class="link" href=${to(["users", incident.user_id])}>${incident.user_id}</a></dd>
    ${incident.target && html`<dt>Target</dt><dd><a class="link" href=${to(["monitors"], { target: incident.target })}>${incident.target}</a></dd>`}
    <dt>Severity</dt><dd>${incident.severity}</dd>
    <dt>Phase</dt><dd>${incident.phase}${incident.changes.length > 1 ? html` <span class="faint">(${plural(incident.changes.length, "change")} lately)</span>` : ""}</dd>
    <dt>Began</dt><dd><${Instant} ms=${incident.opened_at} /></dd>
    <dt>Alerts</dt><dd>${incident.silenced ? "kept back by a silence" : incident.told ? "sent" : "not sent"}</dd>
    ${incident.executor && html`<dt>Found by</dt><dd>${incident.executor}</dd>`}
    <dt>Seen</dt><dd><${Ack} ack=${incident.ack} none="by nobody" /></dd>
  </dl>`;
}
