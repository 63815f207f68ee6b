// Live: results and changes as they happen. What the API left out is said; freezing keeps what is shown.
import { html, useEffect, useLayoutEffect, useRef, useState } from "../app/html.js";
import { connection, useLive } from "../app/live.js";
import { pageKeys } from "../app/keys.js";
import { count, duration } from "../app/format.js";
import { query, setQuery, to } from "../app/router.js";
import { Segments } from "../components/form.js";
import { Icon } from "../components/icon.js";
import { Banner, Empty } from "../components/notice.js";
import { State, wordOf } from "../components/state.js";
import { Table } from "../components/table.js";
import { Instant } from "../components/time.js";
import { UserFilter } from "../components/user-filter.js";

const MOST = 200;
const PAINT_MS = 200;

export function LivePage() {
  const { user = "", only = "", failed = "" } = query.value;
  const [shown, setShown] = useState([]);
  const [frozen, setFrozen] = useState(false);
  const [missed, setMissed] = useState({ left: 0, held: 0 });
  const waiting = useRef([]);
  const seen = useRef(0);
  const dropped = useRef(0);

  useLive({ user, only }, (kind, value, id) => {
    if (kind === "dropped") {
      dropped.current += value.dropped;
      return;
    }
    if (failed && (kind === "result" ? value.status === "success" : value.to_state === "up")) return;
    seen.current += 1;
    waiting.current.push({ kind, value, id: id || `${kind}/${seen.current}` });
    if (waiting.current.length > MOST) waiting.current.splice(0, waiting.current.length - MOST);
  });
  // many events, few paints; nothing is kept beyond the rows that are shown
  useEffect(() => {
    const timer = setInterval(() => {
      setMissed((before) => (before.left === dropped.current && before.held === waiting.current.length ? before : { left: dropped.current, held: waiting.current.length }));
      if (frozen || !waiting.current.length) return;
      const news = waiting.current.splice(0).reverse();
      setShown((before) => [...news, ...before].slice(0, MOST));
    }, PAINT_MS);
    return () => clearInterval(timer);
  }, [frozen]);
  useEffect(() => {
    waiting.current = [];
    setShown([]);
  }, [user, only, failed]);
  const freeze = () => setFrozen((before) => !before);
  useLayoutEffect(() => {
    pageKeys.set("f", freeze);
    return () => pageKeys.delete("f");
  }, []);
  return html`
    <div class="page-head"><h1>Live</h1><span class="sub">${count(seen.current)} since you opened this page${missed.left ? `; ${count(missed.left)} more were left out, as at most 50 a second are sent` : ""}</span>
      <div class="end"><button class="button" type="button" aria-pressed=${frozen} onClick=${freeze} title="(f)"><${Icon} name=${frozen ? "play" : "pause"} size="14" />${frozen ? `Resume${missed.held ? ` (${count(missed.held)}${missed.held === MOST ? " or more" : ""} waiting)` : ""}` : "Freeze"}</button></div></div>
    <div class="filters">
      <${Segments} label="What" value=${only} set=${(each) => setQuery({ only: each })} options=${[["", "Everything"], ["result", "Results"], ["transition", "Changes of state"]]} />
      <${Segments} label="Outcome" value=${failed} set=${(each) => setQuery({ failed: each })} options=${[["", "All"], ["true", "Not well"]]} />
      <${UserFilter} value=${user} set=${(each) => setQuery({ user: each }, { replace: true })} />
    </div>
    ${frozen && html`<${Banner} tone="warn" icon="pause">Frozen: what you see stays. New events wait, the newest ${MOST} of them are kept.</${Banner}>`}
    <section class="panel stream" aria-label="Events">${shown.length === 0
      ? html`<${Empty} title=${connection.value === "live" ? "Waiting for the next event" : "Connecting"} icon="live">${seen.current ? "" : user ? "Nothing has come for this user since you opened this page. The filter takes the whole id of a user." : "Results and changes of state appear here as they happen."}</${Empty}>`
      : html`<${Table} label="Events" rows=${shown} keyOf=${(each) => each.id} columns=${[
          { id: "at", label: "At", width: "w-s", cell: ({ kind, value }) => html`<span class="faint"><${Instant} ms=${kind === "result" ? value.started_at : value.at} /></span>` },
          { id: "what", label: "What", width: "w-m", cell: ({ kind, value }) => html`<${State} state=${kind === "result" ? value.status : value.to_state} outcome=${value.outcome} />` },
          { id: "monitor", label: "Monitor", cell: ({ value }) => html`<a href=${to(["users", value.user_id, "monitors", value.monitor_id])}><b>${value.monitor_id}</b> <span class="faint">${value.user_id}</span></a>` },
          { id: "says", label: "Says", narrow: false, cell: ({ kind, value }) => html`<span class="muted" title=${value.reason}>${kind === "transition" ? html`<span class="tag">${value.reminder ? "reminder" : `was ${wordOf(value.from_state).toLowerCase()}`}</span> ` : ""}${value.reason}</span>` },
          { id: "took", label: "Took", width: "w-s", num: true, narrow: false, cell: ({ kind, value }) => (kind === "result" ? duration(value.duration_ms) : "") },
        ]} />`}</section>`;
}
