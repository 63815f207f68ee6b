// Import: a file of users and monitors is judged, then sent in parts; what is refused is listed with its line.
import { html, useMemo, useRef, useState } from "../app/html.js";
import { request } from "../app/api.js";
import { firstCells, partsOf } from "../app/file-parts.js";
import { count, plural } from "../app/format.js";
import { to } from "../app/router.js";
import { Choice, Field } from "../components/form.js";
import { Icon } from "../components/icon.js";
import { Banner, Empty, Failure } from "../components/notice.js";
import { Panel } from "../components/panel.js";
import { State } from "../components/state.js";
import { Table } from "../components/table.js";

const ROWS_AT_ONCE = 1_000;
const MOST_SHOWN = 500;
const LARGEST_BYTES = 100 * 1024 * 1024;
const KNOWN = ["user_id", "plan", "attributes", "monitors", "maintenance", "monitor"];
const FIELDS = [["", "attribute of its name"], ...KNOWN.map((name) => [name, name]), ["-", "left out"]];
const SHOWN_ROWS = 3;

/** What a column stands for at first: by its name, and ``id`` is the user's. */
const guess = (columns) => Object.fromEntries(columns.map((name) => [name, KNOWN.includes(name) ? name : !columns.includes("user_id") && /^(user.?)?id$/i.test(name) ? "user_id" : ""]));

/** The query of a request for a part. Names may be several times in it. */
function queryOf({ isTable, delimiter, fields, plan }, line, dryRun) {
  const found = new URLSearchParams({ format: isTable ? "csv" : "jsonl", line, dry_run: dryRun });
  if (isTable) found.set("delimiter", delimiter);
  if (plan) found.set("plan", plan);
  for (const [name, field] of Object.entries(isTable ? fields : {})) {
    if (field === "-") found.append("ignore", name);
    else if (field && field !== name) found.append("map", `${name}=${field}`);
  }
  return found.toString();
}

export function Import() {
  const [file, setFile] = useState(null);
  const [fields, setFields] = useState({});
  const [plan, setPlan] = useState("");
  const [run, setRun] = useState(null);
  const stop = useRef(null);
  const parts = useMemo(() => (file ? [...partsOf(file.text, file.isTable, ROWS_AT_ONCE)] : []), [file]);
  const rows = parts.reduce((sum, part) => sum + part.rows, 0);

  const choose = async (event) => {
    const [given] = event.target.files;
    setRun(null);
    if (!given) return setFile(null);
    if (given.size > LARGEST_BYTES) return setFile({ name: given.name, tooLarge: true, text: "" });
    const text = await given.text();
    const isTable = !/^\s*\{/.test(text);
    const delimiter = isTable && /^[^\n,]*;/.test(text) ? ";" : ",";
    const [columns = [], ...samples] = isTable ? firstCells(text, delimiter, 1 + SHOWN_ROWS) : [];
    setFields(guess(columns));
    return setFile({ name: given.name, text, isTable, delimiter, columns, samples });
  };
  const send = async (dryRun) => {
    const began = { dryRun, done: 0, accepted: 0, kept: 0, refused: 0, wrong: [], error: null, over: false };
    stop.current = new AbortController();
    setRun(began);
    let now = began;
    try {
      for (const part of parts) {
        const { data } = await request("POST", `/v1/import?${queryOf({ ...file, fields, plan }, part.line, dryRun)}`, { body: part.text, type: "application/octet-stream", headers: { Prefer: "wait=20" }, signal: stop.current.signal });
        now = { ...now, done: now.done + data.rows, accepted: now.accepted + data.accepted, kept: now.kept + data.kept, refused: now.refused + data.refused_rows, wrong: [...now.wrong, ...data.refused].slice(0, MOST_SHOWN) };
        setRun(now);
      }
      setRun({ ...now, over: true });
    } catch (error) {
      setRun({ ...now, over: true, error: stop.current.signal.aborted ? null : error, stopped: stop.current.signal.aborted });
    }
  };
  const isBusy = run !== null && !run.over;
  const tried = run?.over && run.dryRun && !run.error;
  return html`
    <div class="page-head"><h1>Import</h1><span class="sub">users and monitors from a file, CSV or JSON lines</span></div>
    <${Panel} title="File" pad>
      <div class="stack">
        <${Field} label="CSV or JSON lines" hint="It is read in this browser and sent in parts. For databases, other products and files of more than 100 MB: everwatch import.">${(id) => html`<input class="file" type="file" id=${id} accept=".csv,.jsonl,.ndjson,.json,.txt" disabled=${isBusy} onChange=${choose} />`}</${Field}>
        ${file?.tooLarge && html`<${Banner} tone="warn" icon="incidents">${file.name} has more than 100 MB: import it with <code>everwatch import</code>.</${Banner}>`}
      </div>
    </${Panel}>
    ${file && !file.tooLarge && html`
      ${file.isTable && html`<${Mapping} file=${file} fields=${fields} set=${(name, field) => { setFields({ ...fields, [name]: field }); setRun(null); }} />`}
      <div class="filters">
        <${Field} label="Plan of users whose row names none">${(id) => html`<input class="input" id=${id} value=${plan} maxLength="64" placeholder="default" disabled=${isBusy} onInput=${(event) => { setPlan(event.target.value.trim()); setRun(null); }} />`}</${Field}>
      </div>
      <div class="row wrap">
        <button class="button" type="button" disabled=${isBusy || !rows} onClick=${() => send(true)}><${Icon} name="search" size="14" />Check ${plural(rows, "row")}</button>
        <button class="button primary" type="button" disabled=${isBusy || !tried || !run.accepted} onClick=${() => send(false)}><${Icon} name="plus" size="14" />${tried ? `Import ${plural(run.accepted, "row")}` : "Import"}</button>
        ${isBusy && html`<button class="button" type="button" onClick=${() => stop.current.abort()}>Stop</button>`}
        ${!run && html`<span class="small faint">Checking sends nothing; it says which rows would be refused.</span>`}
      </div>
      ${run && html`<${Outcome} run=${run} rows=${rows} />`}`}
    ${!file && html`<section class="panel"><${Empty} title="How a file looks" icon="letters">The first line of a CSV file names its columns, one of them is the user's id. A row is a signup: plan, attributes, and <code>monitors</code> as a JSON list. With a column <code>monitor</code> a row is one monitor of a user. See docs/importing.md.</${Empty}></section>`}`;
}

function Mapping({ file, fields, set }) {
  return html`<${Panel} title="Columns" aside=${file.name}><${Table} label="Columns" rows=${file.columns} keyOf=${(name) => name} columns=${[
    { id: "name", label: "Column", width: "w-m", cell: (name) => html`<span class="name">${name}</span>` },
    { id: "field", label: "Is", width: "w-l", cell: (name) => html`<${Choice} label=${`Column ${name} is`} value=${fields[name] ?? ""} set=${(field) => set(name, field)} options=${FIELDS} />` },
    { id: "samples", label: "First rows", narrow: false, cell: (name) => html`<span class="faint">${file.samples.map((row) => row[file.columns.indexOf(name)]).filter(Boolean).join(" · ")}</span>` },
  ]} /></${Panel}>`;
}

function Outcome({ run, rows }) {
  const words = run.dryRun ? ["would be accepted", "would be refused"] : ["accepted", "refused"];
  return html`<${Panel} title=${run.dryRun ? "Check" : "Import"} aside=${run.over ? html`<${State} state=${run.error ? "failed" : run.stopped ? "cancelled" : "done"} />` : html`<${State} state="running" />`}>
    <div class="body stack" aria-live="polite">
      <progress max=${Math.max(rows, 1)} value=${run.done} aria-label="Rows that were dealt with"></progress>
      <p>${count(run.done)} of ${plural(rows, "row")}: <b>${count(run.accepted)}</b> ${words[0]}, <b class=${run.refused ? "bad" : ""}>${count(run.refused)}</b> ${words[1]}${run.kept ? html`, ${count(run.kept)} kept and not carried out yet` : ""}.${!run.dryRun && run.over && html` <a class="link" href=${to(["users"], { sort: "changed" })}>See the users</a>`}</p>
    </div>
    ${run.error && html`<${Failure} error=${run.error} />`}
    ${run.wrong.length > 0 && html`<${Table} label="Refused rows" rows=${run.wrong} keyOf=${(each) => String(each.line)} columns=${[
      { id: "line", label: "Line", width: "w-s", cell: (each) => count(each.line) },
      { id: "user", label: "User", width: "w-m", narrow: false, cell: (each) => each.user_id || html`<span class="faint">–</span>` },
      { id: "why", label: "Why", wrap: true, cell: (each) => each.reason },
      { id: "path", label: "Field", width: "w-xl", narrow: false, cell: (each) => each.path && html`<code>${each.path}</code>` },
    ]} />`}
    ${run.refused > run.wrong.length && html`<footer>The first ${count(run.wrong.length)} of them.</footer>`}
  </${Panel}>`;
}
