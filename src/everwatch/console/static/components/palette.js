// The palette (Ctrl K): pages, monitors, users and switches, found by typing. And the list of keys.
import { html, useLayoutEffect, useRef, useState } from "../app/html.js";
import { useGet, useSettled } from "../app/load.js";
import { overlay } from "../app/keys.js";
import { nextTheme, nextZone } from "../app/prefs.js";
import { go, to } from "../app/router.js";
import { seesAll } from "../app/session.js";
import { pages } from "../app/pages.js";
import { hostOf, plural, targetOf } from "../app/format.js";
import { Icon } from "./icon.js";
import { iconOf, lookOf, STATES } from "./state.js";

const [MOST, LOOKED_AT] = [6, 100];

/** Whether a monitor has each of some words in its ids, its name or its target. */
const hasAll = (monitor, words) => {
  const text = [monitor.user_id, monitor.monitor_id, monitor.spec.name, targetOf(monitor.spec)].join(" ").toLowerCase();
  return words.every((word) => text.includes(word));
};

/** The hosts with a text in them that several users' monitors share, and the number of these users. */
function sharedBy(monitors, text) {
  const of = new Map();
  for (const each of monitors) {
    const host = hostOf(each.spec);
    if (host.includes(text)) of.set(host, (of.get(host) ?? new Set()).add(each.user_id));
  }
  return [...of].map(([host, hit]) => [host, hit.size]).filter(([, hit]) => hit > 1);
}

const closed = (name) => () => overlay.value === name && (overlay.value = "");

export function Palette() {
  const element = useRef(null);
  const [text, setText] = useState("");
  const [at, setAt] = useState(0);
  const [isEntered, setEntered] = useState(false);
  const wanted = useSettled(text.trim(), 120);
  // the API finds one part: of several words the longest is asked for, and the others are looked for in what it finds
  const words = wanted.toLowerCase().split(/\s+/).filter(Boolean);
  const longest = words.reduce((one, other) => (other.length > one.length ? other : one), "");
  // who looks for one by its name mostly looks for the one that is down
  const down = useGet(wanted ? "/v1/monitors" : null, { q: wanted, state: "down", limit: MOST });
  const exact = useGet(wanted ? "/v1/monitors" : null, { q: wanted, limit: MOST });
  const loose = useGet(words.length > 1 ? "/v1/monitors" : null, { q: longest, limit: LOOKED_AT });
  const found = exact.data?.items.length || words.length < 2 ? exact.data?.items ?? [] : (loose.data?.items ?? []).filter((each) => hasAll(each, words));
  const first = exact.data ? (down.data?.items ?? []) : [];
  const others = found.filter((each) => each.state !== "down" || !first.length).sort((one, other) => STATES.indexOf(one.state) - STATES.indexOf(other.state));
  const all = [...first, ...others].slice(0, MOST);
  const shared = sharedBy(first, wanted.toLowerCase());
  const users = useGet(wanted && seesAll.value ? "/v1/users" : null, { q: wanted, limit: 4 });
  useLayoutEffect(() => element.current.showModal(), []);
  useLayoutEffect(() => setAt(0), [text]);
  // what is chosen may change until the answers to all that was typed are there
  const isFound = text.trim() === wanted && !down.loading && !exact.loading && !loose.loading && !users.loading;

  const named = (name) => name.toLowerCase().includes(text.trim().toLowerCase());
  const groups = [
    ["Monitors", (wanted ? all : []).map((each) => ({
      id: `m-${each.user_id}-${each.monitor_id}`, icon: iconOf(each.state), look: lookOf(each.state), what: each.spec.name || each.monitor_id, hint: `${each.user_id} · ${targetOf(each.spec) || each.spec.kind}`,
      act: () => go(to(["users", each.user_id, "monitors", each.monitor_id])),
    }))],
    ["Targets", seesAll.value ? shared.map(([host, hit]) => ({
      id: `t-${host}`, icon: "users", what: `Users that ${host} hits`, hint: `down for ${plural(hit, "user")} or more`, act: () => go(to(["users"], { target: host })),
    })) : []],
    ["Users", (wanted ? users.data?.items ?? [] : []).map((each) => ({
      id: `u-${each.user_id}`, icon: "users", what: String(each.attributes.name ?? each.user_id), hint: each.user_id, act: () => go(to(["users", each.user_id])),
    }))],
    ["Pages", pages.value.filter((each) => named(each.name)).map((each) => ({ id: `p-${each.path}`, icon: each.icon, what: each.name, hint: `g ${each.key}`, act: () => go(to(each.path ? [each.path] : [])) }))],
    ["Show", [
      { id: "down", icon: "down", what: "Monitors that are down", act: () => go(to(["monitors"], { state: "down", sort: "state-since" })) },
      { id: "late", icon: "late", what: "Monitors that are late", act: () => go(to(["monitors"], { state: "late", sort: "state-since" })) },
      { id: "theme", icon: "moon", what: "Change the theme", act: nextTheme },
      { id: "zone", icon: "late", what: "Change the time zone (UTC, local)", act: nextZone },
      { id: "keys", icon: "info", what: "Show the keys", hint: "?", act: () => setTimeout(() => (overlay.value = "keys")) },
    ].filter((each) => named(each.what))],
    ["Search", text.trim() ? [{ id: "all", icon: "search", what: `All monitors with “${text.trim()}”`, act: () => go(to(["monitors"], { q: text.trim() })) }] : []],
  ].filter(([, items]) => items.length);
  const items = groups.flatMap(([, some]) => some);
  const chosen = items[Math.min(at, items.length - 1)];

  const pick = (item) => {
    element.current.close();
    item.act();
  };
  const onInput = (event) => {
    setText(event.target.value);
    setEntered(false);
  };
  const onKey = (event) => {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (step) {
      event.preventDefault();
      const next = (at + step + items.length) % items.length;
      setAt(next);
      document.getElementById(`option-${items[next]?.id}`)?.scrollIntoView({ block: "nearest" });
    } else if (event.key === "Enter") {
      event.preventDefault();
      setEntered(true);
    }
  };
  useLayoutEffect(() => {
    if (isEntered && isFound && chosen) pick(chosen);
  }, [isEntered, isFound]);
  return html`<dialog class="palette" ref=${element} aria-label="Search" onClose=${closed("palette")} onClick=${(event) => event.target === element.current && element.current.close()}>
    <input type="text" role="combobox" aria-expanded="true" aria-controls="palette-list" aria-autocomplete="list" aria-activedescendant=${chosen ? `option-${chosen.id}` : undefined} aria-label="Search" placeholder="Search monitors, users, pages" autocomplete="off" spellcheck=${false} maxLength="128" value=${text} onInput=${onInput} onKeyDown=${onKey} autofocus />
    <div role="listbox" id="palette-list" aria-label="Found">
      ${groups.map(([name, some]) => html`<div role="group" aria-label=${name} key=${name}>
        <div class="group" aria-hidden="true">${name}</div>
        ${some.map((item) => html`<div key=${item.id} id=${`option-${item.id}`} role="option" aria-selected=${item === chosen} onPointerMove=${() => setAt(items.indexOf(item))} onClick=${() => pick(item)}><span class=${`mark${item.look ? ` of-${item.look}` : ""}`}><${Icon} name=${item.icon} /></span><span class="what">${item.what}</span>${item.hint && html`<span class="hint">${item.hint}</span>`}</div>`)}
      </div>`)}
    </div>
    <div class="foot not-narrow"><span><kbd>↑</kbd> <kbd>↓</kbd> choose</span><span><kbd>Enter</kbd> open</span><span><kbd>Esc</kbd> close</span></div>
  </dialog>`;
}

export function Keys() {
  const element = useRef(null);
  useLayoutEffect(() => element.current.showModal(), []);
  const keys = [
    ["Search everything", ["Ctrl", "K"]], ["Search this page", ["/"]], ["These keys", ["?"]],
    ["Next and previous row", ["j", "k"]], ["Open the row", ["Enter"]], ["Select the row", ["x"]],
    ["To what is done with the selection", ["Tab"]], ["Leave a field or drop-down", ["Esc"]],
    ["Pause or resume", ["p"]], ["Run now", ["r"]], ["Edit", ["e"]], ["Freeze the stream", ["f"]],
    ...pages.value.map((each) => [each.name, ["g", each.key]]),
  ];
  return html`<dialog class="dialog wide" ref=${element} aria-label="Keys" onClose=${closed("keys")}>
    <form method="dialog">
      <h2>Keys</h2>
      <div class="keys">${keys.map(([what, some]) => html`<div key=${what}><span class="muted">${what}</span><span class="nowrap">${some.map((key) => html`<kbd key=${key}>${key}</kbd> `)}</span></div>`)}</div>
      <div class="foot"><button class="button" type="submit">Close</button></div>
    </form>
  </dialog>`;
}
