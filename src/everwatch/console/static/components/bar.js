// The availability bar: parts of time with the states a monitor was in. It is a slider for the keyboard and for
// screen readers, and a table on demand.
import { html, useState } from "../app/html.js";
import { clock, day, DAY, duration, percent } from "../app/format.js";
import { lookOf, wordOf } from "./state.js";
import { Table } from "./table.js";

const GAP = 0.22;
const WORST_FIRST = ["down", "late", "up", "new", "paused", "done"];
// a short outage in a long part must be seen
const LEAST_SHARE = 0.22;

const total = (bar) => Object.values(bar.by_state).reduce((sum, ms) => sum + ms, 0);

/** What one part says, as a sentence part. */
export function said(bar, long) {
  const from = long ? `${day(bar.begin)} ${clock(bar.begin, false)}` : clock(bar.begin, false);
  const states = WORST_FIRST.filter((state) => bar.by_state[state]);
  if (!states.length) return `${from}: not known`;
  const words = states.map((state) => (states.length === 1 ? wordOf(state).toLowerCase() : `${wordOf(state).toLowerCase()} ${duration(bar.by_state[state])}`));
  return `${from}: ${words.join(", ")}${bar.availability !== null && bar.availability < 1 ? `, available ${percent(bar.availability)}` : ""}`;
}

function pieces(bar) {
  const known = total(bar);
  if (!known) return [["none", 1]];
  const states = WORST_FIRST.filter((state) => bar.by_state[state]);
  const raw = states.map((state) => [lookOf(state), Math.max(bar.by_state[state] / known, state === "down" || state === "late" ? LEAST_SHARE : 0)]);
  const sum = raw.reduce((all, [, share]) => all + share, 0);
  return raw.map(([look, share]) => [look, share / sum]);
}

export function AvailabilityBar({ whole, bars, label }) {
  const [at, setAt] = useState(-1);
  const [asTable, setAsTable] = useState(false);
  const long = whole.end - whole.begin > 1.5 * DAY;
  const move = (event) => {
    const step = { ArrowLeft: -1, ArrowRight: 1, ArrowDown: -1, ArrowUp: 1, PageDown: -10, PageUp: 10 }[event.key];
    const next = event.key === "Home" ? 0 : event.key === "End" ? bars.length - 1 : step ? (at < 0 ? bars.length - 1 : at + step) : null;
    if (next === null) return;
    event.preventDefault();
    setAt(Math.max(0, Math.min(bars.length - 1, next)));
  };
  const point = (event) => {
    const box = event.currentTarget.getBoundingClientRect();
    setAt(Math.max(0, Math.min(bars.length - 1, Math.floor(((event.clientX - box.left) / box.width) * bars.length))));
  };
  const chosen = at < 0 ? null : bars[at];
  return html`<div>
    <div class="bar" role="slider" tabIndex="0" aria-label=${label} aria-valuemin="0" aria-valuemax=${bars.length - 1} aria-valuenow=${Math.max(at, 0)} aria-valuetext=${said(chosen ?? whole, long)}
      onKeyDown=${move} onPointerMove=${point} onPointerLeave=${() => setAt(-1)} onBlur=${() => setAt(-1)}>
      <svg viewBox=${`0 0 ${bars.length} 1`} preserveAspectRatio="none" aria-hidden="true">
        ${bars.map((bar, index) => {
          let top = 1;
          const stacked = pieces(bar).map(([look, share]) => {
            top -= share;
            return html`<rect class=${`fill-${look}`} x=${index + GAP / 2} y=${Math.max(top, 0)} width=${1 - GAP} height=${share} opacity=${at >= 0 && at !== index ? 0.55 : 1} />`;
          });
          return html`<g key=${index}>${stacked}</g>`;
        })}
      </svg>
    </div>
    <div class="bar-foot">
      <span class="nowrap">${long ? day(whole.begin) : clock(whole.begin, false)} to now</span>
      <span class="said clip">${chosen ? said(chosen, long) : html`<span class="faint">${percent(whole.availability)} available</span>`}</span>
      <span class="nowrap"><button class="link" type="button" onClick=${() => setAsTable(!asTable)}>${asTable ? "Hide the table" : "Show as a table"}</button></span>
    </div>
    ${asTable && html`<${Table} label=${`${label}, as a table`} keyOf=${(bar) => String(bar.begin)} rows=${bars.filter((bar) => total(bar)).slice().reverse()}
      columns=${[
        { id: "from", label: "From", width: "w-m", cell: (bar) => (long ? `${day(bar.begin)} ${clock(bar.begin, false)}` : clock(bar.begin)) },
        { id: "states", label: "States", cell: (bar) => WORST_FIRST.filter((state) => bar.by_state[state]).map((state) => `${wordOf(state)} ${duration(bar.by_state[state])}`).join(", ") },
        { id: "available", label: "Available", num: true, width: "w-s", cell: (bar) => percent(bar.availability) },
      ]} />`}
  </div>`;
}

/** The states of a day as a small picture in a row of a table; ``past``: as ``/v1/timelines`` has it. */
export function MiniBar({ past }) {
  if (!past) return html`<span class="mini-bar"></span>`;
  const known = past.availability === null ? "not known" : `${percent(past.availability)} available in the last day`;
  return html`<span class="mini-bar" role="img" aria-label=${known} title=${known}><svg viewBox=${`0 0 ${past.states.length} 1`} preserveAspectRatio="none" aria-hidden="true">
    ${past.states.map((state, index) => html`<rect key=${index} class=${`fill-${state ? lookOf(state) : "none"}`} x=${index + GAP / 2} y="0" width=${1 - GAP} height="1" rx="0.2" ry="0.1" />`)}
  </svg></span>`;
}

/** The shares of states among monitors, as one thin line. */
export function Shares({ counts }) {
  const sum = Object.values(counts).reduce((all, n) => all + n, 0);
  if (!sum) return null;
  return html`<div class="shares" aria-hidden="true">${WORST_FIRST.filter((state) => counts[state]).map((state) => html`<span key=${state} class=${`bg-${lookOf(state)}`} style=${{ flex: `${counts[state]} 1 0` }}></span>`)}</div>`;
}
