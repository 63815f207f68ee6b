// One user on one page: what is registered, monitors, tasks, and what changed.
import { html, useEffect } from "../app/html.js";
import { useGet, useThrottled } from "../app/load.js";
import { useLive } from "../app/live.js";
import { userPath, write } from "../app/api.js";
import { count } from "../app/format.js";
import { query, to } from "../app/router.js";
import { has, may, seesAll } from "../app/session.js";
import { maintainUser, msOf, withdrawFromUser } from "../app/maintenance.js";
import { create } from "../app/monitor-actions.js";
import { Copy } from "../components/copy.js";
import { ask } from "../components/dialog.js";
import { Action, Field } from "../components/form.js";
import { Icon } from "../components/icon.js";
import { Empty, Loaded } from "../components/notice.js";
import { Panel } from "../components/panel.js";
import { STATES, wordOf } from "../components/state.js";
import { Ago, Instant } from "../components/time.js";
import { toast, told } from "../components/toast.js";
import { Feed } from "./feed.js";
import { MonitorList } from "./monitors.js";
import { TaskTable } from "./tasks.js";

export function UserPage({ user: userId }) {
  const user = useGet(userPath(userId));
  const changes = useGet(`/v1/transitions`, { user: userId, limit: 30 });
  const tasks = useGet(userPath(userId, "/tasks"), { limit: 20 });
  const plans = useGet("/v1/plans");
  const soon = useThrottled(() => {
    user.reload();
    changes.reload();
  }, 2_000);
  useLive({ only: "transition" }, (kind, value) => kind === "transition" && value.user_id === userId && soon());
  const name = user.data?.attributes.name ?? userId;
  useEffect(() => {
    document.title = `${name} · Everwatch`;
  }, [name]);
  return html`
    <div class="crumbs"><a href=${to(["users"])}>Users</a><span>/</span><span class="clip">${userId}</span></div>
    <div class="page-head"><h1 class="clip">${name}</h1>${user.data && html`<span class="sub">${user.data.plan}</span>`}
      ${user.data && html`<div class="end"><${UserActions} user=${user.data} done=${() => { user.reload(); }} /></div>`}</div>
    <${Loaded} of=${user} lines="4">${(data) => html`<div class="columns main-aside">
      <div class="stack">
        <${MonitorList} filters=${{ user: userId }} order=${query.value} worstFirst empty=${html`<${Empty} title="No monitors yet" icon="monitors">This user has no monitors. ${may("write") ? "Make one with New monitor." : ""}</${Empty}>`} />
        ${tasks.data?.items.length > 0 && html`<${Panel} title="Delayed tasks"><${TaskTable} items=${tasks.data.items} reload=${tasks.reload} /></${Panel}>`}
      </div>
      <div class="stack">
        <${Panel} title="Registration" aside=${has("GET /v1/audit") && html`<a class="link" href=${to(["audit"], { user: userId })}>Who changed it</a>`} pad><${Registration} user=${data} plan=${plans.data?.items.find((each) => each.plan === data.plan)} done=${user.reload} /></${Panel}>
        ${has("GET /v1/users/{user_id}/status-page") && html`<${StatusPage} user=${data} done=${user.reload} />`}
        ${has("GET /v1/users/{user_id}/contacts") && html`<${Contacts} userId=${userId} />`}
        <${Panel} title="Changes" aside=${html`<a class="link" href=${to(["changes"], { user: userId })}>All</a>`}>
          <${Loaded} of=${changes}>${({ items }) => (items.length ? html`<${Feed} items=${items} withUser=${false} scroll />` : html`<${Empty} title="Nothing has changed yet" />`)}</${Loaded}>
        </${Panel}>
      </div>
    </div>`}</${Loaded}>`;
}

function Registration({ user, plan, done }) {
  const all = Object.values(user.monitors).reduce((sum, n) => sum + n, 0);
  const most = plan?.max_monitors;
  return html`<dl class="pairs">
    <dt>Plan</dt><dd><a class="link" href=${to(["users"], { plan: user.plan })}>${user.plan}</a></dd>
    <dt>Monitors</dt><dd>${count(all)}${most ? ` of ${count(most)} that the plan allows` : ""}${all > 0 && html` <span class="faint">(${STATES.filter((state) => user.monitors[state]).map((state) => `${user.monitors[state]} ${wordOf(state).toLowerCase()}`).join(", ")})</span>`}</dd>
    <dt>Registered</dt><dd><${Instant} ms=${user.registered_at} /></dd>
    <dt>Changed</dt><dd><${Instant} ms=${user.updated_at} /></dd>
    ${Object.entries(user.attributes).map(([name, value]) => html`<dt key=${name}>${name}</dt><dd>${String(value)}</dd>`)}
    ${user.maintenance.map((each, i) => html`<dt>${i ? "" : "Maintenance"}</dt><dd>${each.cron ? `${each.cron} (${each.timezone}) for ${each.duration}` : html`<${Instant} ms=${msOf(each.start)} /> to <${Instant} ms=${msOf(each.end)} />`}${may("run") && html` <button class="link" type="button" aria-label="Withdraw this maintenance" onClick=${() => withdrawFromUser(user, each, done)}>withdraw</button>`}</dd>`)}
  </dl>`;
}

/** Where the user's status page is, and who may read it. */
function StatusPage({ user, done }) {
  const page = useGet(userPath(user.user_id, "/status-page"));
  const { status_page: access = "link" } = user.attributes;
  const isOpen = access === "link" || access === "public";
  const change = async () => {
    const body = { attributes: { status_page: isOpen ? "signed-in" : "link" } };
    if (await told(isOpen ? "The page asks visitors to sign in." : "Whoever has the address reads the page.", () => write("PATCH", userPath(user.user_id), { body }))) done();
  };
  return html`<${Panel} title="Status page" aside=${page.data && html`<a class="link" href=${page.data.html} target="_blank" rel="noopener">Open</a>`} pad><${Loaded} of=${page} lines="1">${(data) => html`<div class="stack">
    <${Copy} text=${`${window.location.origin}${data.html}`} />
    ${data.badge && isOpen && html`<p><img src=${data.badge} alt="Badge of the page: whether everything works" height="20" /></p><${Copy} label="Copy the Markdown of the badge" text=${`[![Status](${window.location.origin}${data.badge})](${window.location.origin}${data.html})`} />`}
    <p class="small faint">${isOpen ? "Whoever has this address sees names, states and outages of the monitors, without signing in." : "Only people who are signed in here and may see this user read names, states and outages of the monitors."} A monitor with the label <code>status=hidden</code> is left out.</p>
    ${may("write") && html`<p><${Action} act=${change}>${isOpen ? "Ask visitors to sign in" : "Open it to anyone with the address"}</${Action}></p>`}
  </div>`}</${Loaded}></${Panel}>`;
}

/** Mail addresses of the user: confirmed, or waiting for their code. */
function Contacts({ userId }) {
  const list = useGet(userPath(userId, "/contacts"));
  const waiting = list.data?.items.some((each) => !each.verified_at);
  const verify = () => ask({
    title: "Confirm a mail address", action: "Confirm", body: CodeBody,
    submit: async ({ code = "" }) => {
      await write("POST", userPath(userId, "/contacts/verify"), { body: { code } });
      toast("The address is confirmed.");
      list.reload();
    },
  });
  const test = has("POST /v1/users/{user_id}/contacts/test");
  const own = list.data?.items ?? [];
  if (!own.length && !test) return null;
  return html`<${Panel} title="Contacts" aside=${may("run") && html`
      ${waiting && html`<button class="link" type="button" onClick=${verify}>Enter a code</button>`}
      ${test && html`<${Action} act=${() => told("A test message is on its way: see Notifications.", () => write("POST", userPath(userId, "/contacts/test"), { body: {} }))}>Send a test</${Action}>`}`}>
    ${!own.length && html`<p class="body small muted">This user has entered no mail address. ${has("GET /v1/routes") && seesAll.value ? html`See <a class="link" href=${to(["routes"], { user: userId })}>Routes</a> for where alerts go.` : ""}</p>`}
    <ul class="explain">${own.map((each) => html`<li key=${each.contact_id}><span class=${each.verified_at ? "ok" : "warn"}><${Icon} name=${each.verified_at ? "up" : "late"} /></span><span class="faint">mail</span>
      <span class="value">${each.address}<br /><span class="remedy">${each.verified_at ? html`confirmed <${Ago} ms=${each.verified_at} />` : html`waits for its code since <${Ago} ms=${each.asked_at} suffix=${false} />`}</span></span></li>`)}</ul>
  </${Panel}>`;
}

function CodeBody({ values }) {
  return html`<${Field} label="Code" hint="The address got it by mail.">${(id) => html`<input class="input" id=${id} required maxLength="64" autofocus autocomplete="one-time-code" onInput=${(event) => (values.code = event.target.value.trim())} />`}</${Field}>`;
}

function UserActions({ user, done }) {
  const path = (rest) => userPath(user.user_id, rest);
  const pauseAll = () => ask({
    title: `Pause all monitors of ${user.attributes.name ?? user.user_id}`, action: "Pause all",
    body: () => html`<p class="muted">No checks of this user run and nobody is alerted, until you resume them.</p>`,
    submit: async () => { await write("POST", path("/pause"), { body: {} }); done(); },
  });
  return html`
    ${may("write") && html`<button class="button" type="button" onClick=${() => create(user.user_id, done)}><${Icon} name="plus" size="14" />New monitor</button>`}
    ${may("run") && html`<button class="button" type="button" onClick=${() => maintainUser(user, done)}><${Icon} name="tool" size="14" />Maintenance</button>`}
    ${may("run") && html`<button class="button" type="button" onClick=${pauseAll}><${Icon} name="pause" size="14" />Pause all</button>`}
    ${may("run") && user.monitors.paused > 0 && html`<${Action} icon="play" act=${async () => (await told("Resumed what the pause of the user paused.", () => write("POST", path("/resume")))) && done()}>Resume</${Action}>`}`;
}
