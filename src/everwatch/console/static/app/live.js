// Live events for all tabs of a browser by one stream of server-sent events.
//
// The tab that holds a Web Lock is the leader: it has the streams and hands events to the others by a
// BroadcastChannel. Over HTTP/1.1 a browser has six connections to a host, so that a stream for each tab would stop the
// seventh. Every tab says which streams it wants; the leader has one stream for each distinct wish, at most MOST_STREAMS.
import { signal, useEffect, useRef } from "./html.js";
import { epoch, first, get } from "./api.js";
import { readEvents } from "./event-stream.js";
import { encode } from "./router.js";

const MOST_STREAMS = 3;
const FIRST_WAIT_MS = 250;
// at most a quarter more than this: the console is back within 2 s after the API
const LONGEST_WAIT_MS = 1_500;
// three beats of the API: a connection that is silent for longer is dead, whatever the network says of it
const SILENT_MS = 30_000;
const KINDS = ["result", "transition", "dropped"];
const TRANSITIONS = encode({ only: "transition" });

/** "connecting", "live" or "lost". */
export const connection = signal("connecting");

const tab = Math.random().toString(36).slice(2);
const listeners = new Map(); // of this tab: wish → set of handlers
const wishes = new Map(); // of the leader: tab → list of wishes
const open = new Map(); // of the leader: wish → Stream
let channel = null;
let leading = false;

/** One stream. After an interruption it goes on behind the last event: the API reads again what came meanwhile. */
class Stream {
  constructor(wish) {
    this.wish = wish;
    this.wait = FIRST_WAIT_MS;
    this.lost = false;
    this.last = "";
    this.connect();
  }

  async connect() {
    this.stop = new AbortController();
    const { signal: stopped } = this.stop;
    try {
      const headers = this.last ? { "Last-Event-ID": this.last } : {};
      const response = await fetch(this.wish ? `/v1/live?${this.wish}` : "/v1/live", { headers, signal: stopped, credentials: "same-origin" });
      // the request says why, and shows the sign-in form if that is the reason
      if (!response.ok) get(first.session()).catch(() => undefined);
      else await this.read(response.body);
    } catch {
      // an API that is unavailable: tried again below
    }
    if (!stopped.aborted || this.silent) this.retry();
  }

  async read(body) {
    this.wait = FIRST_WAIT_MS;
    tell({ type: "state", state: "live", again: this.lost });
    this.lost = false;
    this.watch();
    await readEvents(body, {
      alive: () => this.watch(),
      id: (id) => (this.last = id),
      event: (kind, data) => KINDS.includes(kind) && tell({ type: "event", wish: this.wish, kind, id: this.last, data }),
    });
  }

  /** Give a connection up that says nothing any more. */
  watch() {
    this.silent = false;
    clearTimeout(this.watchdog);
    this.watchdog = setTimeout(() => {
      this.silent = true;
      this.stop.abort();
    }, SILENT_MS);
  }

  retry() {
    clearTimeout(this.watchdog);
    if (!this.lost) tell({ type: "state", state: "lost" });
    this.lost = true;
    this.timer = setTimeout(() => this.connect(), this.wait * (0.75 + Math.random() / 2));
    this.wait = Math.min(this.wait * 2, LONGEST_WAIT_MS);
  }

  close() {
    clearTimeout(this.timer);
    clearTimeout(this.watchdog);
    this.silent = false;
    this.stop.abort();
  }
}

/** Begin: once, when somebody is signed in. */
export function startLive() {
  if (channel) return;
  if (!navigator.locks || typeof BroadcastChannel === "undefined") {
    channel = { postMessage() {} };
    lead();
    return;
  }
  channel = new BroadcastChannel("everwatch-live");
  channel.onmessage = ({ data }) => receive(data);
  navigator.locks.request("everwatch-live", () => {
    lead();
    return new Promise(() => undefined);
  });
  channel.postMessage({ type: "hello", tab });
  say();
  window.addEventListener("pagehide", () => channel.postMessage({ type: "bye", tab }));
  window.addEventListener("pageshow", (event) => event.persisted && say());
}

function lead() {
  leading = true;
  channel.postMessage({ type: "leader" });
  wishes.set(tab, wanted());
  arrange();
}

/** What this tab wants. Changes of state are always among it: every page shows them. */
function wanted() {
  const own = [...listeners.keys()];
  return own.includes("") ? own : [TRANSITIONS, ...own.filter((wish) => wish !== TRANSITIONS)];
}

function say() {
  if (leading) {
    wishes.set(tab, wanted());
    arrange();
  } else {
    channel?.postMessage({ type: "want", tab, wishes: wanted() });
  }
}

/** Open the streams that are wanted and close the others. */
function arrange() {
  const all = new Set([...wishes.values()].flat());
  if (all.has("")) all.delete(TRANSITIONS); // the stream of everything has them
  const chosen = [...all].slice(0, MOST_STREAMS);
  for (const [wish, stream] of open) {
    if (!chosen.includes(wish)) {
      stream.close();
      open.delete(wish);
    }
  }
  for (const wish of chosen) {
    if (!open.has(wish)) open.set(wish, new Stream(wish));
  }
}

function receive(message) {
  if (message.type === "leader") say();
  else if (leading && message.type === "hello") channel.postMessage({ type: "state", state: connection.value });
  else if (leading && message.type === "want") {
    wishes.set(message.tab, message.wishes);
    arrange();
  } else if (leading && message.type === "bye") {
    wishes.delete(message.tab);
    arrange();
  } else if (message.type === "state" || message.type === "event") take(message);
}

function tell(message) {
  channel.postMessage(message);
  take(message);
}

function take(message) {
  if (message.type === "state") {
    connection.value = message.state;
    if (message.again) epoch.value += 1;
    return;
  }
  let value;
  for (const [wish, handlers] of listeners) {
    const same = wish === message.wish || (message.wish === "" && wish === TRANSITIONS && message.kind === "transition");
    if (!same) continue;
    value ??= JSON.parse(message.data);
    for (const handle of handlers) handle(message.kind, value, message.id);
  }
}

/** Call ``handle(kind, value, id)`` for live events while a component is there; ``filter`` null: not now. */
export function useLive(filter, handle) {
  const wish = filter === null ? null : encode(filter);
  const latest = useRef(handle);
  latest.current = handle;
  useEffect(() => {
    if (wish === null) return undefined;
    const own = (...event) => latest.current(...event);
    if (!listeners.has(wish)) listeners.set(wish, new Set());
    listeners.get(wish).add(own);
    say();
    return () => {
      listeners.get(wish).delete(own);
      if (!listeners.get(wish).size) listeners.delete(wish);
      say();
    };
  }, [wish]);
}

/** The filter for changes of state only. */
export const ONLY_TRANSITIONS = { only: "transition" };
