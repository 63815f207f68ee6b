// Silences: of which monitors no alerts are sent, made after a preview.
import { html } from "../app/html.js";
import { request, write } from "../app/api.js";
import { useGet } from "../app/load.js";
import { count, plural } from "../app/format.js";
import { has, may } from "../app/session.js";
import { ask } from "./dialog.js";
import { Action, Field } from "./form.js";
import { Icon } from "./icon.js";
import { Loaded } from "./notice.js";
import { Panel } from "./panel.js";
import { Table } from "./table.js";
import { Instant } from "./time.js";
import { toast, told } from "./toast.js";

const LENGTHS = [["30m", "30 minutes"], ["2h", "2 hours"], ["8h", "8 hours"], ["1d", "1 day"], ["7d", "1 week"], ["30d", "30 days"]];
const FIELDS = [["target", "Target", "A host, or *.example.com for all below a domain"], ["kind", "Kind", ""], ["user", "User", "The whole id"], ["plan", "Plan", ""], ["label", "Label", "KEY=VALUE"]];

const wordsOf = ({ label = {}, ...rest }) => [...Object.entries(rest).map(([name, value]) => `${name} ${value}`), ...Object.entries(label).map(([key, value]) => `${key}=${value}`)];

/** The selector that a form says. Raises Error. */
function matchOf(values) {
  const match = {};
  for (const name of ["target", "kind", "user", "plan"]) if (values[name]?.trim()) match[name] = values[name].trim();
  if (values.label?.trim()) {
    const [key, ...rest] = values.label.trim().split("=");
    if (!key || !rest.length) throw new Error("A label is KEY=VALUE.");
    match.label = { [key]: rest.join("=") };
  }
  if (!Object.keys(match).length) throw new Error("Name at least one of target, kind, user, plan and label.");
  return match;
}

function Body({ values }) {
  const input = (name) => (id) => html`<input class="input" id=${id} maxLength="200" value=${values[name] ?? ""} onInput=${(event) => (values[name] = event.target.value)} />`;
  return html`<p class="muted">No alert of these monitors is sent meanwhile; checks go on. What is still down at the end is told then.</p>
    <div class="fields">${FIELDS.map(([name, label, hint]) => html`<${Field} key=${name} label=${label} hint=${hint}>${input(name)}</${Field}>`)}
      <${Field} label="For">${(id) => html`<select class="select" id=${id} onChange=${(event) => (values.length = event.target.value)}>${LENGTHS.map(([length, text]) => html`<option key=${length} value=${length} selected=${length === values.length}>${text}</option>`)}</select>`}</${Field}></div>
    <${Field} label="Reason" hint="For others to see">${input("reason")}</${Field}>`;
}

function Preview({ found }) {
  const some = found.open.map((each) => `${each.user_id}/${each.monitor_id}`).join(", ");
  return html`<div class="trial"><p>${found.monitors === null ? "Monitors of a pattern are not counted." : html`${plural(found.monitors, "monitor")} fit.`} ${plural(found.incidents, "open incident")} of them.</p>${some && html`<p class="small muted">${some}${found.incidents > found.open.length ? ", …" : ""}</p>`}</div>`;
}

export function silence(done, given = {}) {
  ask({
    title: "New silence", action: "Silence", body: Body, wide: true, given: { length: "2h", ...given },
    attempt: { label: "Preview", act: async (values) => html`<${Preview} found=${(await request("POST", "/v1/silences/preview", { body: { match: matchOf(values) } })).data} />` },
    submit: async (values) => {
      const { status } = await write("POST", "/v1/silences", { body: { match: matchOf(values), for: values.length, reason: values.reason?.trim() ?? "" } });
      toast(status === 202 ? "It is kept; the notifier has not read it yet." : "The silence is on.");
      done();
    },
  });
}

export const canSilence = () => may("run") && has("POST /v1/silences");

export function NewSilence({ done }) {
  return html`<button class="button" type="button" onClick=${() => silence(done)}><${Icon} name="plus" size="14" />New silence</button>`;
}

/** The silences that there are; nothing where there is none. ``list``: of ``useSilences``. */
export function Silences({ list }) {
  const end = async (each) => {
    if (await told("The silence is over.", () => write("DELETE", `/v1/silences/${encodeURIComponent(each.silence_id)}`))) list.reload();
  };
  if (!list.data?.items.length) return null;
  return html`<${Panel} title="Silences" aside=${count(list.data.items.length)}><${Loaded} of=${list}>${({ items }) => html`<${Table} label="Silences" rows=${items} keyOf=${(each) => each.silence_id} tall columns=${[
    { id: "what", label: "Of", cell: (each) => html`<span class="two"><span class="name">${wordsOf(each.match).join(", ")}</span><span class="small faint">${each.reason || "no reason given"}</span></span>` },
    { id: "from", label: "From", width: "w-m", narrow: false, wide: true, cell: (each) => html`<${Instant} ms=${each.starts_at} />` },
    { id: "until", label: "Until", width: "w-m", cell: (each) => html`<${Instant} ms=${each.ends_at} />` },
    { id: "by", label: "By", width: "w-m", narrow: false, cell: (each) => each.by },
    canSilence() && { id: "act", label: "", width: "w-act", num: true, cell: (each) => html`<${Action} act=${() => end(each)}>End</${Action}>` },
  ]} />`}</${Loaded}></${Panel}>`;
}

export const useSilences = () => useGet(has("GET /v1/silences") ? "/v1/silences" : null, undefined, { every: 30_000 });
