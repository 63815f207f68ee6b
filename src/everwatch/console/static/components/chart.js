// Charts. Lines over time are drawn by uPlot, which is loaded when the first chart is there.
import { html, useEffect, useRef, useState } from "../app/html.js";
import { clock, duration, phasesOf } from "../app/format.js";
import { theme, zone } from "../app/prefs.js";

let loading = null;
const load = () => (loading ??= import("../vendor/uplot.js").then((module) => {
  const sheet = Object.assign(document.createElement("link"), { rel: "stylesheet", href: new URL("../vendor/uplot.css", import.meta.url).href });
  document.head.append(sheet);
  return module.default;
}));

/** The colour that a token has at present: canvas knows no custom properties. */
function colour(token) {
  const probe = document.createElement("span");
  probe.style.color = `var(${token})`;
  document.body.append(probe);
  const found = getComputedStyle(probe).color;
  probe.remove();
  return found;
}

const faded = (rgb, alpha) => rgb.replace(/^rgb\((.*)\)$/, `rgba($1, ${alpha})`);

/** Show the newest values in the legend, as long as nothing is pointed at. */
const showLast = (chart) => chart.setLegend({ idx: chart.data[0].length - 1 });

/** Lines over time. ``series``: ``{label, token, values, fill}``; ``times``: ms. ``label`` says what is shown to those who do not see it. */
export function TimeChart({ label, times, series, height = 180 }) {
  const frame = useRef(null);
  const [dark, setDark] = useState(0);
  const [error, setError] = useState(null);
  useEffect(() => {
    const media = matchMedia("(prefers-color-scheme: dark)");
    const turn = () => setDark((n) => n + 1);
    media.addEventListener("change", turn);
    return () => media.removeEventListener("change", turn);
  }, []);
  useEffect(() => {
    let chart = null;
    let observer = null;
    let gone = false;
    const box = frame.current;
    load().then((UPlot) => {
      if (gone) return;
      const [line, text] = [colour("--line"), colour("--text-3")];
      const axis = { stroke: text, grid: { stroke: line, width: 1 }, ticks: { show: false }, font: "11px system-ui, sans-serif" };
      const width = () => Math.max(200, Math.floor(box.getBoundingClientRect().width));
      chart = new UPlot({
        width: width(),
        height,
        tzDate: (s) => (zone.value === "utc" ? UPlot.tzDate(new Date(s * 1000), "Etc/UTC") : new Date(s * 1000)),
        padding: [8, 20, 0, 0],
        cursor: { y: false, points: { size: 6 } },
        legend: { live: true },
        hooks: { setCursor: [(self) => (self.cursor.idx === null || self.cursor.idx === undefined) && showLast(self)], ready: [showLast] },
        axes: [
          // as high as two lines of text
          { ...axis, size: 38, values: [[86400, "{D} {MMM}", null, null, null, null, null, null, 1], [3600, "{HH}:{mm}", "\n{D} {MMM}", null, "\n{D} {MMM}", null, null, null, 1], [60, "{HH}:{mm}", "\n{D} {MMM}", null, "\n{D} {MMM}", null, null, null, 1], [1, "{HH}:{mm}:{ss}", null, null, null, null, null, null, 1]] },
          { ...axis, size: 58, values: (_, splits) => splits.map((ms) => duration(ms)) },
        ],
        scales: { y: { range: (_, low, high) => [0, Math.max(high * 1.1, 1)] } },
        series: [
          { value: "{D} {MMM} {HH}:{mm}" },
          ...series.map((each) => {
            const stroke = colour(each.token);
            return { label: each.label, stroke, width: 1.5, fill: each.fill ? faded(stroke, 0.1) : undefined, points: { show: times.length < 4, size: 4 }, spanGaps: false, value: (_, ms) => duration(ms) };
          }),
        ],
      }, [times.map((ms) => ms / 1000), ...series.map((each) => each.values)], box);
      observer = new ResizeObserver(() => chart.setSize({ width: width(), height }));
      observer.observe(box);
    }).catch((reason) => setError(reason));
    return () => {
      gone = true;
      observer?.disconnect();
      chart?.destroy();
    };
  }, [times, series, height, dark, theme.value, zone.value]);
  if (error) return html`<p class="muted">The chart could not be loaded.</p>`;
  return html`<div class="chart" ref=${frame} role="img" aria-label=${label} style=${{ minHeight: `${height + 28}px` }}></div>`;
}

/** Changes of state by minute: what went up above the line, what went down or late below it. */
export function Flow({ minutes, label }) {
  const most = Math.max(4, ...minutes.map((each) => Math.max(each.up, each.down + each.late)));
  const scale = 40 / most;
  return html`<svg class="flow" viewBox=${`0 0 ${minutes.length} 88`} preserveAspectRatio="none" role="img" aria-label=${label}>
    <line x1="0" x2=${minutes.length} y1="44" y2="44" />
    ${minutes.map((each, i) => html`<g key=${i}>
      ${each.up + each.down + each.late > 0 && html`<title>${clock(each.at, false)}: ${[["up", each.up], ["down", each.down], ["late", each.late]].filter(([, n]) => n).map(([name, n]) => `${n} ${name}`).join(", ")}</title>`}
      ${each.up > 0 && html`<rect class="fill-up" x=${i + 0.14} width="0.72" y=${43 - each.up * scale} height=${each.up * scale} />`}
      ${each.down > 0 && html`<rect class="fill-down" x=${i + 0.14} width="0.72" y="45" height=${each.down * scale} />`}
      ${each.late > 0 && html`<rect class="fill-late" x=${i + 0.14} width="0.72" y=${45 + each.down * scale} height=${each.late * scale} />`}
    </g>`)}
  </svg>`;
}

/** Bars over the next hour: how many are due in each minute. */
export function Histogram({ values, label }) {
  const most = Math.max(1, ...values);
  return html`<svg class="flow" viewBox=${`0 0 ${values.length} 88`} preserveAspectRatio="none" role="img" aria-label=${label}>
    <line x1="0" x2=${values.length} y1="87" y2="87" />
    ${values.map((n, i) => n > 0 && html`<rect key=${i} class="fill-fresh" x=${i + 0.14} width="0.72" y=${86 - (n / most) * 80} height=${(n / most) * 80} />`)}
  </svg>`;
}

/** How long each phase of a run took, as one line. */
export function Phases({ timings }) {
  const phases = phasesOf(timings);
  const sum = phases.reduce((all, [, ms]) => all + ms, 0);
  if (!sum) return null;
  const looks = 5;
  return html`<div class="phases" title=${phases.map(([name, ms]) => `${name.replace("_", " ")} ${duration(ms)}`).join(", ")}>${phases.map(([name, ms], i) => html`<span key=${name} class=${`of-${i % looks}`} style=${{ flex: `${ms} 1 0` }}></span>`)}</div>`;
}
