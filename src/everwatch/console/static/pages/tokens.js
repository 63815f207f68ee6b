// Tokens of the API: who has which, made and revoked here. A token's text is shown once.
import { html } from "../app/html.js";
import { request } from "../app/api.js";
import { useGet } from "../app/load.js";
import { now } from "../app/format.js";
import { ask } from "../components/dialog.js";
import { Copy } from "../components/copy.js";
import { Field } from "../components/form.js";
import { Icon } from "../components/icon.js";
import { Empty, Loaded } from "../components/notice.js";
import { Table } from "../components/table.js";
import { Ago, Instant } from "../components/time.js";
import { toast } from "../components/toast.js";

const ROLES = [["viewer", "viewer: reads"], ["operator", "operator: also writes, pauses and runs"], ["admin", "admin: also makes tokens"]];
const DAYS = [["", "never"], ["1", "in 1 day"], ["30", "in 30 days"], ["365", "in 1 year"]];
const DAY_MS = 86_400_000;

export function Tokens() {
  const list = useGet("/v1/tokens");
  return html`
    <div class="page-head"><h1>Tokens</h1><span class="sub">of the HTTP API</span><div class="end"><button class="button primary" type="button" onClick=${() => create(list.reload)}><${Icon} name="plus" size="14" />New token</button></div></div>
    <section class="panel" aria-label="Tokens"><${Loaded} of=${list} lines="4">${({ items }) => (items.length === 0
      ? html`<${Empty} title="No tokens" icon="key">Make one for each program that uses the API, so that each can be revoked by itself.</${Empty}>`
      : html`<${Table} label="Tokens" rows=${items} keyOf=${(each) => each.token_id} tall columns=${[
          { id: "name", label: "Name", cell: (each) => html`<span class="two"><span class="name">${each.name}</span><span class="small faint">${each.token_id}</span></span>` },
          { id: "role", label: "Role", width: "w-m", cell: (each) => html`${each.role}${each.session ? html` <span class="tag">session</span>` : ""}${each.secrets ? html` <span class="tag">secrets</span>` : ""}` },
          { id: "user", label: "User", width: "w-l", narrow: false, cell: (each) => each.user_id || html`<span class="faint">all</span>` },
          { id: "made", label: "Made", width: "w-m", narrow: false, wide: true, cell: (each) => html`<span class="muted"><${Instant} ms=${each.created_at} /></span>` },
          { id: "expires", label: "Expires", width: "w-m", narrow: false, cell: (each) => (each.expires_at ? html`<span class=${each.expires_at < now.value ? "bad" : "muted"}><${Ago} ms=${each.expires_at} /></span>` : html`<span class="faint">never</span>`) },
          { id: "revoke", label: "", width: "w-act", num: true, cell: (each) => html`<button class="button plain" type="button" onClick=${() => revoke(each, list.reload)}>Revoke</button>` },
        ]} />`)}</${Loaded}></section>`;
}

function Options({ values, name, options, id }) {
  return html`<select class="select" id=${id} onChange=${(event) => (values[name] = event.target.value)}>${options.map(([value, text]) => html`<option key=${value} value=${value}>${text}</option>`)}</select>`;
}

function CreateBody({ values }) {
  const text = (name, required) => (id) => html`<input class="input" id=${id} required=${required} maxLength="128" autocomplete="off" onInput=${(event) => (values[name] = event.target.value)} />`;
  return html`
    <${Field} label="Name" hint="What uses it, as in grafana or ci.">${text("name", true)}</${Field}>
    <${Field} label="Role">${(id) => html`<${Options} id=${id} values=${values} name="role" options=${ROLES} />`}</${Field}>
    <${Field} label="User" hint="Empty: all users. With an id, it reads and writes that user's things only.">${text("user", false)}</${Field}>
    <${Field} label="Expires">${(id) => html`<${Options} id=${id} values=${values} name="days" options=${DAYS} />`}</${Field}>`;
}

function create(done) {
  ask({
    title: "New token", action: "Make it", body: CreateBody, given: { name: "", role: "viewer", user: "", days: "" },
    submit: async ({ name, role, user, days }) => {
      const body = { name, role, user_id: user || null, expires_at: days ? Date.now() + Number(days) * DAY_MS : 0 };
      const { data } = await request("POST", "/v1/tokens", { body });
      done();
      // the dialog that asked closes first
      setTimeout(() => ask({
        title: `Token ${data.stored.name}`, action: "I have kept it",
        body: () => html`<p class="muted">It is shown this once. Whoever has it may do what its role allows.</p><${Copy} text=${data.token} />`,
        submit: async () => undefined,
      }), 50);
    },
  });
}

function revoke(token, done) {
  ask({
    title: `Revoke ${token.name}`, action: "Revoke", danger: true,
    body: () => html`<p class="muted">What uses it is refused from now on, and sessions that began with it end. This cannot be undone.</p>`,
    submit: async () => {
      await request("DELETE", `/v1/tokens/${encodeURIComponent(token.token_id)}`);
      toast(`${token.name} is revoked.`);
      done();
    },
  });
}
