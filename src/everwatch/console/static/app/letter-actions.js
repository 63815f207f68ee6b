// What can be done to dead letters: sent again as they were, or with fields changed, after a dry run.
import { html } from "./html.js";
import { request } from "./api.js";
import { plural } from "./format.js";
import { ask } from "../components/dialog.js";
import { Field } from "../components/form.js";
import { toast } from "../components/toast.js";

const REDRIVE = "/v1/dead-letters/redrive";
const SHOWN = 5;
const ENCODINGS = { avro: "Avro", confluent: "Confluent wire format" };

const planned = async (which) => (await request("POST", REDRIVE, { body: { ...which, dry_run: true } })).data;

async function send(which, done) {
  const { data } = await request("POST", REDRIVE, { body: which });
  toast(`${plural(data.sent, "record")} sent again${data.left_out ? `, ${data.left_out} left out` : ""}`);
  done();
}

/** Say what would be sent back, and send it if that is wanted. ``which``: as the API takes it. */
export async function redrive(which, done) {
  let found;
  try {
    found = await planned(which);
  } catch (error) {
    toast(error.message, { bad: true });
    return;
  }
  ask({
    title: `Send ${plural(found.sent, "record")} again`, action: found.sent ? "Send" : "Close",
    body: () => html`<p class="muted">They go back to where they came from, as they were. Mend the cause first: what is wrong is refused once more.</p><${Plan} found=${found} />`,
    submit: async () => found.sent && send(which, done),
  });
}

/** What a dry run says. */
function Plan({ found }) {
  const left = found.items.filter((each) => each.left_out);
  const places = new Map();
  for (const each of found.items) if (!each.left_out) places.set(each.source, (places.get(each.source) ?? 0) + 1);
  return html`
    ${[...places].slice(0, SHOWN).map(([source, some]) => html`<p key=${source}>${plural(some, "record")} to ${source ?? "?"}</p>`)}
    ${places.size > SHOWN && html`<p class="small faint">and ${places.size - SHOWN} more places</p>`}
    ${left.slice(0, SHOWN).map((each) => html`<p key=${each.letter} class="small"><b>${each.letter}</b> is left out: ${each.left_out}</p>`)}
    ${left.length > SHOWN && html`<p class="small faint">and ${left.length - SHOWN} more are left out</p>`}
    ${found.truncated && html`<p class="small">There are more than one request sends: do it again afterwards.</p>`}`;
}

const inside = (path, name) => (typeof name === "number" ? `${path}[${name}]` : /^[\w-]{1,100}$/.test(name) ? `${path}.${name}` : `${path}[${JSON.stringify(name)}]`);
const isObject = (value) => value !== null && typeof value === "object";

/** Which fields differ: ``{set: {path: value}, remove: [path]}``, each as deep as it can be. */
export function changesOf(before, after, path = "$", found = { set: {}, remove: [] }) {
  const alike = isObject(before) && isObject(after) && Array.isArray(before) === Array.isArray(after) && !(Array.isArray(before) && before.length !== after.length);
  if (!alike) {
    if (JSON.stringify(before) !== JSON.stringify(after)) found.set[path] = after;
    return found;
  }
  for (const name of Object.keys(before)) if (!(name in after)) found.remove.push(inside(path, name));
  for (const [name, value] of Object.entries(after)) {
    const place = inside(path, Array.isArray(after) ? Number(name) : name);
    if (name in before) changesOf(before[name], value, place, found);
    else found.set[place] = value;
  }
  return found;
}

function parsed(text, what) {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new Error(`${what} is not JSON: ${error.message}`);
  }
}

const dryRun = (whichOf) => ({ label: "Dry run", act: async (values) => {
  const found = await planned(whichOf(values));
  return html`<div class="trial"><p><b>${plural(found.sent, "record")}</b> would be sent${found.left_out ? `, ${found.left_out} left out` : ""}.</p><${Plan} found=${found} /></div>`;
} });

/** Send what can be sent; where nothing can, the dialog stays and says why. */
const sendWhich = (whichOf, done) => async (values) => {
  const which = whichOf(values);
  const found = await planned(which);
  if (!found.sent) throw new Error(found.items[0]?.left_out ? `Nothing would be sent: ${found.items[0].left_out}` : "Nothing would be sent.");
  await send(which, done);
};

function RecordBody({ values }) {
  // the wrong field is where the cursor stands first
  const focus = (element) => {
    if (!element || element.dataset.ready) return;
    element.dataset.ready = "yes";
    const at = Math.max(0, element.value.indexOf(`"${values.name}"`));
    element.focus();
    element.setSelectionRange(at, at + (at ? values.name.length + 2 : 0));
  };
  return html`<p class="bad">${values.reason}</p>
    <${Field} label="Record, as JSON" hint=${html`The wrong field is <code>${values.path || "not named"}</code>. Only what you change is sent; the rest stays as it was.${ENCODINGS[values.encoding] ? ` The record is sent as ${ENCODINGS[values.encoding]} again.` : ""}`}>
    ${(id) => html`<textarea class="textarea" id=${id} ref=${focus} rows="16" spellcheck=${false} value=${values.text} onInput=${(event) => (values.text = event.target.value)}></textarea>`}
  </${Field}>`;
}

/** Change one record and send it. */
export function mendOne(letter, done) {
  const whichOf = ({ text }) => {
    const changes = changesOf(letter.value, parsed(text, "The record"));
    if (!Object.keys(changes.set).length && !changes.remove.length) throw new Error("Nothing is changed yet: mend the field that is wrong.");
    if ("$" in changes.set) throw new Error("A record is a JSON object.");
    return { letters: [letter.letter], again: Boolean(letter.redriven_at), ...changes };
  };
  ask({
    title: `Edit dead letter ${letter.letter}`, action: "Send", wide: true, body: RecordBody, attempt: dryRun(whichOf),
    given: { text: JSON.stringify(letter.value, null, 2), encoding: letter.encoding, reason: letter.reason, path: letter.path, name: letter.path.split(/[.[]/).filter((part) => !/^\d+\]$/.test(part)).at(-1) ?? "" },
    submit: sendWhich(whichOf, done),
  });
}

function FieldBody({ values }) {
  const text = (name, more = {}) => (id) => html`<input class="input mono" id=${id} required maxLength="500" spellcheck=${false} value=${values[name]} onInput=${(event) => (values[name] = event.target.value.trim())} ...${more} />`;
  return html`<p class="muted">The same field is set in ${values.words}. A record that is still wrong with it is left out.</p>
    <${Field} label="Field" hint="Its path, as the dead letters name the wrong one.">${text("path")}</${Field}>
    <${Field} label="New value (JSON)" hint=${html`Text in quotes: <code>"pro"</code>.`}>${text("value", { autofocus: true })}</${Field}>`;
}

/** Set one field of many records and send them. ``letters``: those whose wrong fields are looked at. */
export function mendMany(which, letters, words, done) {
  const tally = new Map();
  for (const { path } of letters) if (path) tally.set(path, (tally.get(path) ?? 0) + 1);
  const [likely = "$."] = [...tally].sort(([, one], [, other]) => other - one).map(([path]) => path);
  const whichOf = ({ path, value }) => ({ ...which, set: { [path]: parsed(value, "The new value") } });
  ask({ title: "Set a field and send", action: "Send", wide: true, body: FieldBody, given: { path: likely, value: "", words }, attempt: dryRun(whichOf), submit: sendWhich(whichOf, done) });
}
