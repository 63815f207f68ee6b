// What can be done to monitors, one or many.
import { html } from "./html.js";
import { batch, get, monitorPath, request, write } from "./api.js";
import { plural } from "./format.js";
import { has } from "./session.js";
import { ask } from "../components/dialog.js";
import { Field } from "../components/form.js";
import { Trial } from "../components/trial.js";
import { toast, told } from "../components/toast.js";

export const keyOf = (monitor) => `${monitor.user_id}\n${monitor.monitor_id}`;
export const nameOf = (monitor) => monitor.spec?.name || monitor.monitor_id;

const HOURS = [["", "until I resume it"], ["1", "for 1 hour"], ["4", "for 4 hours"], ["24", "for 1 day"], ["168", "for 1 week"]];

function PauseBody({ values }) {
  return html`<${Until} values=${values} /><${Field} label="Why" hint="Shown on its page and in its history. You may leave it empty.">${(id) => html`<input class="input" type="text" id=${id} maxLength="200" autocomplete="off" onInput=${(event) => (values.reason = event.target.value.trim())} />`}</${Field}>`;
}

function Until({ values }) {
  return html`<${Field} label="Pause" hint="No checks run and nobody is alerted meanwhile.">${(id) => html`<select class="select" id=${id} onChange=${(event) => (values.hours = event.target.value)}>${HOURS.map(([hours, text]) => html`<option value=${hours}>${text}</option>`)}</select>`}</${Field}>`;
}

const untilOf = (values) => (values.hours ? Date.now() + Number(values.hours) * 3_600_000 : null);

export function pause(monitor, done) {
  ask({
    title: `Pause ${nameOf(monitor)}`, action: "Pause", body: PauseBody,
    submit: async (values) => {
      await write("POST", monitorPath(monitor.user_id, monitor.monitor_id, "/pause"), { body: { until: untilOf(values), ...(values.reason ? { reason: values.reason } : {}) } });
      toast(`${nameOf(monitor)} is paused.`);
      done();
    },
  });
}

export async function resume(monitor, done) {
  if (await told(`${nameOf(monitor)} is resumed.`, () => write("POST", monitorPath(monitor.user_id, monitor.monitor_id, "/resume")))) done();
}

export async function runNow(monitor, done) {
  if (await told(`${nameOf(monitor)} runs now; its result appears here in a moment.`, () => write("POST", monitorPath(monitor.user_id, monitor.monitor_id, "/run")))) done();
}

export function remove(monitor, done) {
  ask({
    title: `Delete ${nameOf(monitor)}`, action: "Delete", danger: true,
    body: () => html`<p class="muted">It is checked no more. Its results and changes of state stay. This cannot be undone.</p>`,
    submit: async () => {
      await write("DELETE", monitorPath(monitor.user_id, monitor.monitor_id));
      toast(`${nameOf(monitor)} is deleted.`);
      done();
    },
  });
}

/** Do one thing to many monitors, and say how it went. ``command``: pause, resume, run_now or delete. */
async function many(monitors, command, past, more = {}) {
  const outcomes = await batch(monitors.map(({ user_id, monitor_id }) => ({ command, user_id, monitor_id, ...more })));
  const refused = outcomes.filter((each) => each.status >= 400);
  const open = outcomes.filter((each) => each.status === 202).length;
  const done = outcomes.length - refused.length - open;
  if (done) toast(`${plural(done, "monitor")} ${past}.`);
  if (open) toast(`${plural(open, "command")} kept; no worker has answered yet.`);
  if (refused.length) toast(`${count(refused)}: ${refused[0].detail ?? refused[0].reason ?? refused[0].title ?? "refused"}`, { bad: true });
}

const count = (refused) => `${plural(refused.length, "monitor")} refused`;

export function pauseMany(monitors, done) {
  ask({ title: `Pause ${plural(monitors.length, "monitor")}`, action: "Pause", body: PauseBody, submit: async (values) => { await many(monitors, "pause", "paused", { until: untilOf(values), ...(values.reason ? { reason: values.reason } : {}) }); done(); } });
}

export async function resumeMany(monitors, done) {
  if (await attempted(() => many(monitors, "resume", "resumed"))) done();
}

export async function runMany(monitors, done) {
  if (await attempted(() => many(monitors, "run_now", "run now"))) done();
}

export function removeMany(monitors, done) {
  ask({
    title: `Delete ${plural(monitors.length, "monitor")}`, action: "Delete", danger: true,
    body: () => html`<p class="muted">They are checked no more. Their results and changes of state stay. This cannot be undone.</p>`,
    submit: async () => { await many(monitors, "delete", "deleted"); done(); },
  });
}

async function attempted(act) {
  try {
    await act();
    return true;
  } catch (error) {
    toast(error.message, { bad: true });
    return false;
  }
}

/** What a JSON merge patch (RFC 7396) must say so that ``before`` becomes ``after``; undefined if nothing. */
export function difference(before, after) {
  const plain = (value) => value !== null && typeof value === "object" && !Array.isArray(value);
  if (!plain(before) || !plain(after)) return JSON.stringify(before) === JSON.stringify(after) ? undefined : after;
  const patch = {};
  for (const name of Object.keys(before)) if (!(name in after)) patch[name] = null;
  for (const [name, value] of Object.entries(after)) {
    const changed = name in before ? difference(before[name], value) : value;
    if (changed !== undefined) patch[name] = changed;
  }
  return Object.keys(patch).length ? patch : undefined;
}

function EditBody({ values }) {
  return html`<${Field} label="Specification (JSON)" hint="Only what you change is sent, so that secrets, which are not shown, stay as they are. A change that someone else made meanwhile is never overwritten.">
    ${(id) => html`<textarea class="textarea" id=${id} rows="18" spellcheck=${false} onInput=${(event) => (values.text = event.target.value)}>${values.text}</textarea>`}
  </${Field}>`;
}

const parsed = (text) => {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new Error(`This is not JSON: ${error.message}`);
  }
};

/** What the button "Try it" does: ``send`` gets the specification of the form. Without the right to it there is no button. */
const trial = (route, send) => (has(route) ? { label: "Try it", act: async ({ text }) => html`<${Trial} found=${(await send(parsed(text))).data} />` } : undefined);

export async function edit(monitor, done) {
  const path = monitorPath(monitor.user_id, monitor.monitor_id);
  let found;
  try {
    found = await request("GET", path);
  } catch (error) {
    toast(error.message, { bad: true });
    return;
  }
  ask({
    title: `Edit ${nameOf(monitor)}`, action: "Save", wide: true, body: EditBody, given: { text: JSON.stringify(found.data.spec, null, 2) },
    attempt: trial("POST /v1/users/{user_id}/monitors/{monitor_id}/try", (wanted) => request("POST", `${path}/try`, { body: JSON.stringify(difference(found.data.spec, wanted) ?? {}), type: "application/merge-patch+json" })),
    submit: async ({ text }) => {
      const patch = difference(found.data.spec, parsed(text));
      if (patch === undefined) return;
      await write("PATCH", path, { body: JSON.stringify(patch), type: "application/merge-patch+json", headers: { "If-Match": found.etag } });
      toast(`${nameOf(monitor)} is changed.`);
      done();
    },
  });
}

const EXAMPLE = { kind: "http", name: "Shop front page", config: { url: "https://shop.example" }, schedule: { every: "1m" } };

function CreateBody({ values }) {
  return html`<${Field} label="Id" hint="Letters, digits, dots and dashes; unique for the user.">${(id) => html`<input class="input" id=${id} required maxLength="128" value=${values.id} onInput=${(event) => (values.id = event.target.value)} autofocus />`}</${Field}>
    <${Field} label="Specification (JSON)">${(id) => html`<textarea class="textarea" id=${id} rows="12" spellcheck=${false} onInput=${(event) => (values.text = event.target.value)}>${values.text}</textarea>`}</${Field}>`;
}

export function create(userId, done) {
  ask({
    title: "New monitor", action: "Create", wide: true, body: CreateBody, given: { id: "", text: JSON.stringify(EXAMPLE, null, 2) },
    attempt: trial("POST /v1/monitors/try", (spec) => request("POST", "/v1/monitors/try", { body: spec })),
    submit: async ({ id, text }) => {
      const spec = parsed(text);
      await write("PUT", monitorPath(userId, id), { body: spec, headers: { "If-None-Match": "*" } });
      toast(`${spec.name || id} is created.`);
      done();
    },
  });
}

/** Load a monitor once, as when its live event names one that is not shown. */
export const monitorOf = (userId, monitorId) => get(monitorPath(userId, monitorId));
