// Text of numbers, instants and durations. Every instant is ms since 1970 (UTC); 0 means never.
import { signal } from "./html.js";
import { zone } from "./prefs.js";

const SECOND = 1000;
const MINUTE = 60 * SECOND;
const HOUR = 60 * MINUTE;
export const DAY = 24 * HOUR;
const UNITS = [[DAY, "d"], [HOUR, "h"], [MINUTE, "min"], [SECOND, "s"]];

/** The present, for texts like "3 min ago"; it moves each second while the page is visible. */
export const now = signal(Date.now());
setInterval(() => {
  if (!document.hidden) now.value = Date.now();
}, 1000);

const formats = new Map();

function parts(ms) {
  const timeZone = zone.value === "utc" ? "UTC" : undefined;
  const key = timeZone ?? "local";
  if (!formats.has(key)) {
    formats.set(key, new Intl.DateTimeFormat("en-US", {
      timeZone, year: "numeric", month: "short", day: "numeric", hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23",
    }));
  }
  return Object.fromEntries(formats.get(key).formatToParts(ms).map((part) => [part.type, part.value]));
}

export const zoneName = () => (zone.value === "utc" ? "UTC" : Intl.DateTimeFormat().resolvedOptions().timeZone || "local");

/** "14:02:31". */
export function clock(ms, seconds = true) {
  const p = parts(ms);
  return seconds ? `${p.hour}:${p.minute}:${p.second}` : `${p.hour}:${p.minute}`;
}

/** "28 Nov". */
export const day = (ms) => `${parts(ms).day} ${parts(ms).month}`;

/** "14:02:31" of today, else "27 Nov 14:02", with the year when it is another one. */
export function instant(ms) {
  if (!ms) return "never";
  const p = parts(ms);
  const today = parts(Date.now());
  if (p.year === today.year && p.month === today.month && p.day === today.day) return `${p.hour}:${p.minute}:${p.second}`;
  return p.year === today.year ? `${p.day} ${p.month} ${p.hour}:${p.minute}` : `${p.day} ${p.month} ${p.year}`;
}

/** The instant in full, for tooltips. */
export function full(ms) {
  if (!ms) return "never";
  const p = parts(ms);
  return `${p.day} ${p.month} ${p.year} ${p.hour}:${p.minute}:${p.second} ${zoneName()}`;
}

/** "3 min", "2 h 5 min", "250 ms". */
export function duration(ms) {
  if (ms === null || ms === undefined) return "–";
  if (ms < 0) return `−${duration(-ms)}`;
  if (ms < SECOND) return `${ms < 10 ? Math.round(ms * 10) / 10 : Math.round(ms)} ms`;
  if (ms < 10 * SECOND) return `${Math.round(ms / 100) / 10} s`;
  const at = UNITS.findIndex(([size]) => ms >= size);
  const [size, unit] = UNITS[at];
  const whole = Math.floor(ms / size);
  const next = UNITS[at + 1];
  const rest = next ? Math.floor((ms % size) / next[0]) : 0;
  return rest && whole < 10 ? `${whole} ${unit} ${rest} ${next[1]}` : `${whole} ${unit}`;
}

/** One unit only: "3 min". */
export function brief(ms) {
  if (ms < SECOND) return "0 s";
  const [size, unit] = UNITS.find(([each]) => ms >= each);
  return `${Math.floor(ms / size)} ${unit}`;
}

/** "3 min ago", "just now". */
export const ago = (ms) => (ms < SECOND ? "just now" : `${brief(ms)} ago`);

const whole = new Intl.NumberFormat("en-US", { maximumFractionDigits: 0 });
const short = new Intl.NumberFormat("en-US", { notation: "compact", maximumFractionDigits: 1 });
const fraction = new Intl.NumberFormat("en-US", { maximumFractionDigits: 1 });

export const count = (n) => (n === null || n === undefined ? "–" : whole.format(n));
export const compact = (n) => (n < 100_000 ? whole.format(n) : short.format(n));
export const rate = (n) => (n === null || n === undefined ? "–" : n >= 100 ? compact(Math.round(n)) : fraction.format(n));

/** "1 monitor", "3 monitors". */
export const plural = (n, one, many = `${one}s`) => `${count(n)} ${n === 1 ? one : many}`;

/** 0.99963 → "99.96 %": never rounded up to 100. */
export function percent(share) {
  if (share === null || share === undefined) return "–";
  if (share >= 1) return "100 %";
  return `${(Math.floor(share * 10_000) / 100).toFixed(2)} %`;
}

/** When the certificate ends that a run saw; 0 where it saw none. */
export const certificateEnd = (run) => (run?.timings?.certificate_left === undefined ? 0 : run.started_at + run.timings.certificate_left);

/** The phases of a run and what each took; their sum, and what is no phase, left out. */
export const phasesOf = (timings) => Object.entries(timings).filter(([name]) => name !== "total" && name !== "certificate_left");

/** A schedule as a sentence part. */
export function schedule(spec) {
  if (spec.every !== undefined && spec.every !== null) return `every ${typeof spec.every === "number" ? duration(spec.every) : spec.every}`;
  if (spec.cron) return `cron ${spec.cron}${spec.timezone ? ` (${spec.timezone})` : ""}`;
  if (spec.at) return `once, at ${typeof spec.at === "number" ? full(spec.at) : spec.at}`;
  return "–";
}

/** The same in a few words: of what runs once, only that. */
export const briefSchedule = (spec) => (spec.at ? "once" : schedule(spec));

const SIZES = { ms: 1, s: SECOND, m: MINUTE, h: HOUR, d: DAY };

/** When a monitor runs next: the API said it when the page was loaded, and intervals go on since. */
export function nextRun({ next_run: at, spec }) {
  const [, number, unit] = /^([1-9]\d*)(ms|s|m|h|d)$/.exec(spec.schedule?.every ?? "") ?? [];
  if (!at || at > now.value || !number) return at;
  const step = Number(number) * SIZES[unit];
  return at + (Math.floor((now.value - at) / step) + 1) * step;
}

/** What the notifier decided about an alert, in words for people. */
export const verdictText = (verdict) => verdict.replace(/^told: /, "sent to ").replace(/^not told\b/, "nobody was told");

// as the API groups reasons: without what they quote and count
const groupOf = (reason) => reason.replace(/(?<![\p{L}\p{N}_])'[^']*'(?![\p{L}\p{N}_])/gu, "'…'").replace(/\d+(?:\.\d+)?/g, "N").slice(0, 200);

/** A reason in full of a group of dead letters, if one of the letters is at hand; else what the group is named by. */
export const sampleOf = (group, letters) => letters.find((each) => each.code === group.code && each.source_topic === group.source && groupOf(each.reason) === group.reason)?.reason ?? group.reason;

/** The host that a monitor checks, "" where there is none. */
export function hostOf(spec) {
  const { url, host = "" } = spec.config ?? {};
  try {
    return url ? new URL(url).hostname : String(host);
  } catch {
    return "";
  }
}

/** What a monitor checks, as a person would say it. */
export function targetOf(spec) {
  const config = spec.config ?? {};
  if (config.url) return String(config.url);
  if (config.host) return config.port ? `${config.host}:${config.port}` : String(config.host);
  if (spec.kind === "heartbeat") return `expected ${config.cron ? `by ${config.cron}` : `every ${config.period}`}, grace ${config.grace ?? "10s"}`;
  return String(config.name ?? config.server_name ?? config.topic ?? config.callable ?? "");
}
