// Dead letters: records that were refused, by reason; each one decoded, with the wrong field named.
import { html } from "../app/html.js";
import { useGet } from "../app/load.js";
import { count, plural, sampleOf } from "../app/format.js";
import { encode, query, setQuery, to } from "../app/router.js";
import { mendMany, mendOne, redrive } from "../app/letter-actions.js";
import { has } from "../app/session.js";
import { Choice } from "../components/form.js";
import { Icon } from "../components/icon.js";
import { Json } from "../components/json.js";
import { Empty, Loaded } from "../components/notice.js";
import { Panel } from "../components/panel.js";
import { Pager, Table, useSelection } from "../components/table.js";
import { Instant } from "../components/time.js";
import { UserFilter } from "../components/user-filter.js";

const MOST = 100;
const REDRIVE = "POST /v1/dead-letters/redrive";
const RANGES = [["", "Any time"], ["1", "Last hour"], ["24", "Last day"], ["168", "Last week"]];

export function DeadLetters() {
  const { source = "", user = "", code = "", reason = "", hours = "", letter = "", cursor = "" } = query.value;
  const since = hours ? Math.floor(Date.now() / 60_000 - Number(hours) * 60) * 60_000 : "";
  const list = useGet("/v1/dead-letters", { source, user, code, reason, since: cursor ? query.value.since : since, cursor, limit: MOST });
  const counts = list.data?.counts ?? [];
  const some = (field, chosen) => [...new Set([...counts.map((each) => each[field]), chosen])].filter(Boolean).sort().map((each) => [each, each]);
  const selection = useSelection(encode({ source, user, code, reason, hours, cursor }));
  const selected = (list.data?.items ?? []).filter((each) => selection.has(each.letter));
  const filter = { source, user, code, reason, since: Number(since) || 0 };
  const done = () => {
    selection.clear();
    list.reload();
  };
  const chosen = list.data?.items.find((each) => each.letter === letter);
  return html`
    <div class="page-head"><h1>Dead letters</h1><span class="sub">records that were refused, the latest first</span>${has(REDRIVE) && (source || user || code || reason) && html`<div class="end">
      <button class="button" type="button" onClick=${() => mendMany(filter, list.data?.items ?? [], "all records that these filters have", done)}><${Icon} name="edit" size="14" />Set a field in these…</button>
      <button class="button" type="button" onClick=${() => redrive(filter, done)}>Send these again</button></div>`}</div>
    <div class="filters">
      <${UserFilter} value=${user} set=${(each) => setQuery({ user: each }, { replace: true })} />
      <${Choice} label="From" value=${source} set=${(each) => setQuery({ source: each })} options=${[["", "Any topic"], ...some("source", source)]} />
      <${Choice} label="Code" value=${code} set=${(each) => setQuery({ code: each })} options=${[["", "Any code"], ...some("code", code)]} />
      <${Choice} label="Time" value=${hours} set=${(each) => setQuery({ hours: each })} options=${RANGES} />
      ${reason && html`<button class="tag" type="button" onClick=${() => setQuery({ reason: "" })}>${reason} ×</button>`}
    </div>
    <${Loaded} of=${list} lines="8">${({ items, next }) => (items.length === 0
      ? html`<section class="panel"><${Empty} title="No dead letters" icon="up">No record that fits was refused.</${Empty}></section>`
      : html`<div class="columns main-aside">
          <section class="panel" aria-label="Dead letters">${selected.length > 0 && html`<${Bulk} selected=${selected} selection=${selection} done=${done} />`}
            <${Table} label="Dead letters" rows=${items} keyOf=${(each) => each.letter} tall keyboard selection=${has(REDRIVE) ? selection : undefined} href=${(each) => to(["dead-letters"], { ...query.value, letter: each.letter })} changed=${new Set(letter ? [letter] : [])} columns=${[
            { id: "at", label: "Refused", width: "w-m", narrow: false, cell: (each) => html`<span class="muted"><${Instant} ms=${each.refused_at} /></span>` },
            { id: "why", label: "Why", cell: (each) => html`<span class="two"><a class="name lines-2" href=${to(["dead-letters"], { ...query.value, letter: each.letter })} title=${each.reason}>${each.reason}</a><span class="small faint">${each.path || each.code}${each.redriven_at ? " · sent again" : ""}</span></span>` },
            { id: "user", label: "User", width: "w-m", cell: (each) => each.key && html`<a href=${to(["users", each.key])}>${each.key}</a>` },
            { id: "from", label: "From", width: "w-m", narrow: false, cell: (each) => html`<span class="muted" title=${each.source_topic ? `${each.source_topic}, partition ${each.source_partition}, offset ${each.source_offset}` : ""}>${each.source_topic ?? "–"}</span>` },
          ]} /><${Pager} shown=${items.length} cursor=${cursor} next=${next} setQuery=${(changes, options) => setQuery({ ...changes, since: changes.cursor ? since || query.value.since : "" }, options)} what=${items.length === 1 ? "dead letter" : "dead letters"} /></section>
          <div class="stack">
            ${chosen ? html`<${Letter} letter=${chosen} reload=${done} />` : html`<${Reasons} counts=${counts} letters=${items} />`}
          </div>
        </div>`)}</${Loaded}>`;
}

function Bulk({ selected, selection, done }) {
  const which = { letters: selected.map((each) => each.letter), again: selected.some((each) => each.redriven_at) };
  return html`<div class="bulk" role="toolbar" aria-label="Selected dead letters">
    <b>${selected.length} selected</b>
    <button class="button" type="button" onClick=${() => (selected.length === 1 && isDocument(selected[0]) ? mendOne(selected[0], done) : mendMany(which, selected, plural(selected.length, "record"), done))}><${Icon} name="edit" size="14" />Edit and send…</button>
    <button class="button" type="button" onClick=${() => redrive(which, done)}>Send again</button>
    <button class="button plain" type="button" onClick=${selection.clear}>Clear</button>
  </div>`;
}

// of whatever encoding: it is sent again in the same one
const isDocument = (letter) => ["json", "avro", "confluent"].includes(letter.encoding) && !letter.problem && letter.value !== null && typeof letter.value === "object" && !letter.cut?.includes("value");

function Reasons({ counts, letters }) {
  return html`<${Panel} title="Why"><${Table} label="Dead letters by reason" rows=${counts} keyOf=${(each) => `${each.source}\n${each.code}\n${each.reason}`} columns=${[
    { id: "reason", label: "Reason", wrap: true, cell: (each) => html`<span class="lines-3" title=${sampleOf(each, letters)}>${sampleOf(each, letters)}</span>` },
    { id: "from", label: "From", width: "w-s", narrow: false, cell: (each) => html`<span class="muted">${each.source}</span>` },
    { id: "count", label: "Count", width: "w-s", num: true, cell: (each) => count(each.count) },
  ]} /></${Panel}>`;
}

function Letter({ letter, reload }) {
  return html`<${Panel} title=${`Dead letter ${letter.letter}`} aside=${html`<button class="link" type="button" onClick=${() => setQuery({ letter: "" })}>Close</button>`}>
    <div class="body"><dl class="pairs">
      <dt>Reason</dt><dd class="bad">${letter.reason}</dd>
      ${letter.path && html`<dt>Wrong field</dt><dd><code>${letter.path}</code></dd>`}
      <dt>Code</dt><dd>${letter.code}</dd>
      <dt>Refused</dt><dd><${Instant} ms=${letter.refused_at} /> by ${letter.refused_by}</dd>
      ${letter.source_topic && html`<dt>From</dt><dd>${letter.source_topic}, partition ${letter.source_partition}, offset ${letter.source_offset}</dd>`}
      ${letter.key && html`<dt>Key</dt><dd><a class="link" href=${to(["users", letter.key])}>${letter.key}</a></dd>`}
      ${letter.redriven_at && html`<dt>Sent again</dt><dd><${Instant} ms=${letter.redriven_at} /> to ${letter.redriven_to}</dd>`}
      <dt>Mend it</dt><dd>${has(REDRIVE) ? html`<span class="row wrap">${isDocument(letter) && html`<button class="button" type="button" onClick=${() => mendOne(letter, reload)}><${Icon} name="edit" size="14" />Edit and send…</button>`}<button class="button" type="button" onClick=${() => redrive({ letters: [letter.letter], again: Boolean(letter.redriven_at) }, reload)}>Send it again</button></span>` : html`<code>everwatch dead-letters redrive ${letter.letter} --dry-run</code>`}</dd>
    </dl></div>
    ${letter.value !== null && html`<${Json} value=${letter.value} label="The record" wrong=${letter.path} />`}
    ${letter.problem && html`<footer>${letter.encoding}: ${letter.problem}</footer>`}
  </${Panel}>`;
}
