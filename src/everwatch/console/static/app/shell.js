// What surrounds every page: navigation, search, theme, zone, connection, overlays.
import { html, useEffect, useLayoutEffect, useRef } from "./html.js";
import { unreachable } from "./api.js";
import { ailing, Counts } from "./counts.js";
import { connection } from "./live.js";
import { overlay } from "./keys.js";
import { compact } from "./format.js";
import { nextTheme, nextZone, theme, zone } from "./prefs.js";
import { match, path, to } from "./router.js";
import { seesAll, session, signOut } from "./session.js";
import { GROUPS, pages, routes } from "./pages.js";
import { Icon, Mark } from "../components/icon.js";
import { Banner, Empty } from "../components/notice.js";
import { Dialogs } from "../components/dialog.js";
import { Toasts } from "../components/toast.js";
import { Keys, Palette } from "../components/palette.js";

const THEME_ICONS = { auto: "auto", light: "sun", dark: "moon" };
const CONNECTIONS = { live: "Live", connecting: "Connecting", lost: "Reconnecting" };

export function Shell() {
  const found = match(routes.value, path.value);
  const main = useRef(null);
  const first = useRef(true);
  useEffect(() => {
    if (first.current) first.current = false;
    else main.current?.focus({ preventScroll: true });
    // pages of one user or monitor have titles of their own
    document.title = found?.name ? `${found.name} · Everwatch` : "Everwatch";
  }, [path.value]);
  const Page = found?.page;
  return html`<div class="shell">
    <a class="skip" href="#main" onClick=${(event) => { event.preventDefault(); main.current.focus(); }}>Skip to the content</a>
    <nav class="side" aria-label="Main"><${Navigation} /></nav>
    <div>
      <${Top} />
      <main class="main" id="main" tabIndex="-1" ref=${main}>
        ${(unreachable.value || connection.value === "lost") && html`<${Banner} tone="warn" icon="incidents">The API does not answer. What you see may be old; the console connects again by itself.</${Banner}>`}
        ${Page ? html`<${Page} key=${found.pattern + Object.values(found.params).join("\n")} ...${found.params} />` : html`<${Missing} />`}
      </main>
    </div>
    ${overlay.value === "palette" && html`<${Palette} />`}
    ${overlay.value === "keys" && html`<${Keys} />`}
    ${overlay.value === "menu" && html`<${Menu} />`}
    <${Dialogs} />
    <${Toasts} />
    ${seesAll.value && html`<${Counts} />`}
  </div>`;
}

function Missing() {
  return html`<h1>No such page</h1><section class="panel"><${Empty} title="There is nothing at this address">The link may be old. <a class="link" href=${to([])}>Go to the overview</a>, or press Ctrl K to search.</${Empty}></section>`;
}

function Navigation() {
  const parts = path.value.split("/");
  const here = parts[2] === "monitors" ? "monitors" : parts[0];
  return html`
    <a class="brand" href=${to([])}><${Mark} />Everwatch</a>
    <div>
      ${GROUPS.map((name, group) => {
        const own = pages.value.filter((each) => each.group === group);
        return own.length > 0 && html`<div class="nav" key=${group}>
          ${name && html`<div class="head">${name}</div>`}
          ${own.map((each) => html`<a key=${each.path} href=${to(each.path ? [each.path] : [])} aria-current=${here === each.path ? "page" : undefined} title=${`g then ${each.key}`}>
            <${Icon} name=${each.icon} />${each.name}
            ${each.path === "monitors" && ailing.value > 0 && html`<span class="count" aria-label=${`${ailing.value} down or late`}>${compact(ailing.value)}</span>`}
          </a>`)}
        </div>`;
      })}
    </div>
    <div class="end"><${Who} /></div>`;
}

function Who() {
  const { name, role, user_id: user, version } = session.value;
  return html`<div class="who"><b class="clip">${name || "Signed in"}</b>${role}${user ? ` of ${user}` : ""}${version ? ` · ${version}` : ""}</div>
    <button class="button plain start" type="button" onClick=${() => signOut().catch(() => undefined)}><${Icon} name="out" size="14" />Sign out</button>`;
}

function Menu() {
  const element = useRef(null);
  useLayoutEffect(() => element.current.showModal(), []);
  return html`<dialog class="drawer" ref=${element} aria-label="Navigation" onClose=${() => (overlay.value = "")} onClick=${(event) => event.target === element.current && element.current.close()}><nav class="side" aria-label="Main"><${Navigation} /></nav></dialog>`;
}

function Top() {
  return html`<header class="top">
    <button class="button icon plain menu" type="button" aria-label="Open the navigation" onClick=${() => (overlay.value = "menu")}><${Icon} name="menu" /></button>
    <button class="find" type="button" onClick=${() => (overlay.value = "palette")}><${Icon} name="search" size="14" /><span class="clip">Search monitors, users, pages</span><kbd class="not-narrow">Ctrl K</kbd></button>
    <div class="end">
      <span class=${`link-state ${connection.value}`} role="status"><span class=${connection.value === "live" ? "not-narrow" : ""}>${CONNECTIONS[connection.value]}</span></span>
      <button class="button plain" type="button" aria-label=${`Times are ${zone.value === "utc" ? "UTC" : "local"}: change`} title="Time zone of all times" onClick=${nextZone}>${zone.value === "utc" ? "UTC" : "Local"}</button>
      <button class="button icon plain" type="button" aria-label=${`Theme: ${theme.value}. Change`} title=${`Theme: ${theme.value}`} onClick=${nextTheme}><${Icon} name=${THEME_ICONS[theme.value]} /></button>
      <button class="button icon plain not-narrow" type="button" aria-label="Keys" title="Keys (?)" onClick=${() => (overlay.value = "keys")}><kbd>?</kbd></button>
    </div>
  </header>`;
}
