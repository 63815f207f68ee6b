// Bulk jobs: one thing done to all monitors that a filter has, after a preview.
import { html, useEffect, useState } from "./html.js";
import { request, write } from "./api.js";
import { plural } from "./format.js";
import { go, to } from "./router.js";
import { has, may } from "./session.js";
import { ask } from "../components/dialog.js";
import { Field } from "../components/form.js";
import { toast, told } from "../components/toast.js";

export const ACTIONS = [["pause", "Pause"], ["resume", "Resume"], ["run_now", "Run now"], ["delete", "Delete"]];
export const actionName = (action) => ACTIONS.find(([each]) => each === action)?.[1] ?? action;
const HOURS = [["", "until they are resumed"], ["1", "for 1 hour"], ["4", "for 4 hours"], ["24", "for 1 day"], ["168", "for 1 week"]];

export const canRunJobs = () => may("write") && has("POST /v1/jobs");

/** A filter of the monitors page as the API takes it. */
export const filterOf = ({ label, state, ...rest }) => Object.fromEntries(Object.entries({ ...rest, state, label: label ? [label] : undefined }).filter(([, value]) => value));

/** A filter in words. */
export const wordsOf = (filter) => Object.entries(filter).filter(([, value]) => value && value.length !== 0).map(([name, value]) => `${name === "q" ? "contains" : name} ${[value].flat().join(", ")}`).join(", ") || "all monitors";

function Body({ values }) {
  const [found, setFound] = useState(null);
  const [action, setAction] = useState(values.action);
  const look = async () => setFound((await request("POST", "/v1/jobs/preview", { body: { filter: values.filter } })).data);
  // what fits is shown before anything is asked
  useEffect(() => void look().catch(() => undefined), []);
  const choose = (event) => {
    values.action = event.target.value;
    setAction(values.action);
  };
  return html`<p class="muted">Of ${values.words}, in the background: it goes on if you leave.</p>
    ${found && html`<${Preview} found=${found} again=${() => told("Counted anew.", look)} />`}
    <${Field} label="Action">${(id) => html`<select class="select" id=${id} onChange=${choose}>${ACTIONS.map(([action, name]) => html`<option key=${action} value=${action} selected=${action === values.action}>${name}</option>`)}</select>`}</${Field}>
    ${action === "pause" && html`<${Field} label="A pause lasts">${(id) => html`<select class="select" id=${id} onChange=${(event) => (values.hours = event.target.value)}>${HOURS.map(([hours, text]) => html`<option key=${hours} value=${hours}>${text}</option>`)}</select>`}</${Field}>`}
    <${Field} label="How many monitors are they?" hint="As the preview says: it is refused if the number has moved by more than 1 %.">${(id) => html`<input class="input" id=${id} inputmode="numeric" required pattern="[0-9]+" value=${values.count ?? ""} onInput=${(event) => (values.count = event.target.value)} />`}</${Field}>`;
}

function Preview({ found, again }) {
  return html`<div class="trial"><p class="row"><span class="grow"><b>${plural(found.count, "monitor")}</b> fit now.</span><button class="link" type="button" onClick=${again}>Count again</button></p><p class="small muted">${found.sample.map((each) => `${each.user_id}/${each.monitor_id}`).join(", ")}${found.count > found.sample.length ? ", …" : ""}</p></div>`;
}

/** Ask what is to be done to all monitors that ``filter`` has, and begin it. */
export function beginJob(filter) {
  ask({
    title: "Bulk job", action: "Begin", body: Body, given: { action: "pause", hours: "", words: wordsOf(filter), filter },
    submit: async ({ action, hours, count }) => {
      const until = action === "pause" && hours ? Date.now() + Number(hours) * 3_600_000 : undefined;
      await write("POST", "/v1/jobs", { body: { action, filter, expect_count: Number(count), until } });
      toast("The job has begun.");
      go(to(["jobs"]));
    },
  });
}
