// What can be done to open incidents, one or many.
import { html } from "./html.js";
import { monitorPath, write } from "./api.js";
import { plural } from "./format.js";
import { each } from "./some-at-once.js";
import { ask } from "../components/dialog.js";
import { Field } from "../components/form.js";
import { toast } from "../components/toast.js";

const LENGTHS = [["30m", "30 minutes"], ["2h", "2 hours"], ["8h", "8 hours"], ["1d", "1 day"], ["7d", "1 week"]];

const request = (method, what, body) => (incident) => write(method, monitorPath(incident.user_id, incident.monitor_id, what), { body });

/** Send a request for each incident, some at once; says how it went. */
async function many(incidents, send, done) {
  let kept = 0;
  const refused = await each(incidents, async (incident) => {
    if ((await send(incident)).status === 202) kept += 1;
  });
  const count = incidents.length - refused.length - kept;
  if (count) toast(`${plural(count, "incident")} ${done}.`);
  if (kept) toast(`${plural(kept, "request")} kept; the notifier has not read ${kept === 1 ? "it" : "them"} yet.`);
  if (refused.length) toast(`${plural(refused.length, "incident")} refused: ${refused[0].message}`, { bad: true });
}

export async function acknowledge(incidents, done) {
  await many(incidents, request("POST", "/ack"), "acknowledged");
  done();
}

export async function withdraw(incidents, done) {
  await many(incidents, request("DELETE", "/ack"), "not acknowledged any more");
  done();
}

function SnoozeBody({ values }) {
  return html`<${Field} label="Snooze for" hint="No alert is sent meanwhile but the end of the incident; then a reminder, if it goes on.">${(id) => html`<select class="select" id=${id} onChange=${(event) => (values.length = event.target.value)}>${LENGTHS.map(([length, text]) => html`<option key=${length} value=${length} selected=${length === values.length}>${text}</option>`)}</select>`}</${Field}>`;
}

export function snooze(incidents, done) {
  ask({
    title: incidents.length === 1 ? `Snooze ${incidents[0].monitor_id}` : `Snooze ${plural(incidents.length, "incident")}`, action: "Snooze", body: SnoozeBody, given: { length: "2h" },
    submit: async ({ length }) => {
      await many(incidents, request("POST", "/snooze", { for: length }), "snoozed");
      done();
    },
  });
}

/** Ask whether an incident is to be ended by hand, and end it. */
export function resolve(incident, done) {
  ask({
    title: `Resolve the incident of ${incident.monitor_id}`, action: "Resolve", body: () => html`<p class="muted">Nothing more is told of it. Checks go on: when the monitor recovers and fails again, there is a new incident.</p>`,
    submit: async () => {
      const { status } = await write("POST", `/v1/incidents/${encodeURIComponent(incident.incident_id)}/resolve`);
      toast(status === 202 ? "It is kept; the notifier has not read it yet." : "The incident is over.");
      done();
    },
  });
}
