// Maintenance of a user or of one monitor: from now or ahead, and withdrawn.
import { html, useState } from "./html.js";
import { monitorPath, request, userPath, write } from "./api.js";
import { zone } from "./prefs.js";
import { ask } from "../components/dialog.js";
import { Field } from "../components/form.js";
import { toast, told } from "../components/toast.js";

const LENGTHS = [["1", "1 hour"], ["2", "2 hours"], ["4", "4 hours"], ["24", "1 day"]];
const HOUR_MS = 3_600_000;

export const msOf = (value) => (typeof value === "number" ? value : Date.parse(value));

function Body({ values }) {
  const [later, setLater] = useState(false);
  const choose = (event) => {
    values.begin = "";
    setLater(event.target.value === "later");
  };
  return html`<p class="muted">Checks go on, and nobody is alerted. The user's status page announces it two weeks ahead.</p>
    <div class="fields"><${Field} label="Begins">${(id) => html`<select class="select" id=${id} onChange=${choose}><option value="now">now</option><option value="later">at…</option></select>`}</${Field}>
    ${later && html`<${Field} label=${`Begin (${zone.value === "utc" ? "UTC" : "local time"})`}>${(id) => html`<input class="input" id=${id} type="datetime-local" required onInput=${(event) => (values.begin = event.target.value)} />`}</${Field}>`}
    <${Field} label="Lasts">${(id) => html`<select class="select" id=${id} onChange=${(event) => (values.hours = event.target.value)}>${LENGTHS.map(([hours, text]) => html`<option key=${hours} value=${hours}>${text}</option>`)}</select>`}</${Field}></div>`;
}

/** Ask for a window; ``put`` states all windows anew, those that are over need not be kept. */
function maintain(name, windows, put, done) {
  ask({
    title: `Maintenance of ${name}`, action: "Set", body: Body, given: { hours: "1", begin: "" },
    submit: async ({ hours, begin }) => {
      const asked = Date.now();
      const start = begin ? Date.parse(begin + (zone.value === "utc" ? "Z" : "")) : asked;
      await put([...windows.filter((each) => !each.end || msOf(each.end) > asked), { start, end: start + Number(hours) * HOUR_MS }]);
      toast(begin ? "Maintenance is announced." : "Maintenance has begun.");
      done();
    },
  });
}

const putOfUser = (user) => (maintenance) => write("PUT", userPath(user.user_id, "/maintenance"), { body: { maintenance } });

const putOfMonitor = (monitor, etag) => (maintenance) => write("PATCH", monitorPath(monitor.user_id, monitor.monitor_id), {
  body: JSON.stringify({ policy: { maintenance } }), type: "application/merge-patch+json", headers: { "If-Match": etag },
});

export const maintainUser = (user, done) => maintain(user.attributes.name ?? user.user_id, user.maintenance, putOfUser(user), done);

export async function withdrawFromUser(user, window, done) {
  if (await told("The maintenance is withdrawn.", () => putOfUser(user)(user.maintenance.filter((each) => each !== window)))) done();
}

/** Maintenance of one monitor is part of its specification. */
export async function maintainMonitor(monitor, done) {
  let found;
  try {
    found = await request("GET", monitorPath(monitor.user_id, monitor.monitor_id));
  } catch (error) {
    toast(error.message, { bad: true });
    return;
  }
  const { spec } = found.data;
  maintain(spec.name || monitor.monitor_id, spec.policy?.maintenance ?? [], putOfMonitor(monitor, found.etag), done);
}

export async function withdrawFromMonitor(monitor, window, done) {
  const rest = (monitor.spec.policy?.maintenance ?? []).filter((each) => each !== window);
  if (await told("The maintenance is withdrawn.", () => putOfMonitor(monitor, "*")(rest.length ? rest : null))) done();
}
