// The forms for those who are not signed in: by the identity provider, by password, by token.
import { get } from "../app/api.js";
import { html, useEffect, useState } from "../app/html.js";
import { signIn } from "../app/session.js";
import { query, STATUS_PAGE } from "../app/router.js";
import { Mark } from "../components/icon.js";
import { Field } from "../components/form.js";
import { Banner } from "../components/notice.js";

// by the code that the API adds to the address of this page
const REFUSED = {
  link: "That link was used already or has expired. Sign in another way.",
  provider_away: "The identity provider does not answer. Try again in a moment, or sign in another way.",
  login_expired: "That sign-in took too long, or was begun in another window. Try again.",
  denied: "The identity provider did not let you in.",
  not_trusted: "What the identity provider answered cannot be trusted: the log of the API says why. Sign in another way.",
  no_role: "You are known to the identity provider, but none of your groups has a role here. Ask an administrator.",
  busy: "Too many sign in at this moment. Try again in a minute.",
};

export function SignIn() {
  const [options, setOptions] = useState(null);
  const [byToken, setByToken] = useState(false);
  useEffect(() => {
    // an API that does not know the question takes tokens
    get("/login/options").then(setOptions, () => setOptions({}));
  }, []);
  const refused = query.value.error && (REFUSED[query.value.error] ?? "Signing in failed. Try again.");
  const withPassword = options?.password && !byToken;
  return html`<main class="sign-in"><section>
    <div class="brand"><${Mark} />Everwatch</div>
    <h1>Sign in</h1>
    ${STATUS_PAGE.test(query.value.to ?? "") && html`<p class="muted">Only people who are signed in may read this status page.</p>`}
    ${refused && html`<${Banner} tone="warn" icon="incidents">${refused}</${Banner}>`}
    ${options?.oidc && html`<a class="button primary large" href=${startOf(options.oidc)}>Sign in with ${options.oidc.name}</a><p class="or">or</p>`}
    ${options && (withPassword ? html`<${PasswordForm} isFirst=${!options.oidc} />` : html`<${TokenForm} isFirst=${!options.oidc} />`)}
    ${options?.password && html`<button class="button plain" type="button" onClick=${() => setByToken(!byToken)}>${byToken ? "Use a name and a password" : "Use a token"}</button>`}
  </section></main>`;
}

/** Where signing in begins: it leads back to the page that was asked for. */
function startOf(oidc) {
  const { pathname } = window.location;
  const { to } = query.value;
  if (to && to.length <= 500 && STATUS_PAGE.test(to)) return `${oidc.url}?${new URLSearchParams({ to })}`;
  return pathname.startsWith("/console/login") || pathname.length > 500 ? oidc.url : `${oidc.url}?${new URLSearchParams({ to: pathname })}`;
}

/** A form that says what was wrong. ``send`` gets nothing and may raise ApiError. */
function useSending(send, wrongWith) {
  const [wrong, setWrong] = useState("");
  const [busy, setBusy] = useState(false);
  const submit = async (event) => {
    event.preventDefault();
    setBusy(true);
    setWrong("");
    try {
      await send();
    } catch (error) {
      setWrong(error.status === 401 ? wrongWith : error.message);
      setBusy(false);
    }
  };
  return { wrong, busy, submit };
}

function PasswordForm({ isFirst }) {
  const [name, setName] = useState("");
  const [password, setPassword] = useState("");
  const { wrong, busy, submit } = useSending(() => signIn("/login/password", { name: name.trim(), password }), "The name or the password is wrong.");
  return html`<form onSubmit=${submit}>
    <${Field} label="Name">
      ${(id) => html`<input class="input" id=${id} name="username" autocomplete="username" autocapitalize="none" spellcheck=${false} maxLength="64" required value=${name} onInput=${(event) => setName(event.target.value)} autofocus=${isFirst} />`}
    </${Field}>
    <${Field} label="Password" wrong=${wrong} hint="Set by 'everwatch operator add NAME'.">
      ${(id) => html`<input class="input" id=${id} type="password" name="password" autocomplete="current-password" maxLength="256" required value=${password} onInput=${(event) => setPassword(event.target.value)} />`}
    </${Field}>
    <button class="button primary large" type="submit" disabled=${busy || !name.trim() || !password}>Sign in</button>
  </form>`;
}

function TokenForm({ isFirst }) {
  const [token, setToken] = useState("");
  const { wrong, busy, submit } = useSending(() => signIn("/login", { token: token.trim() }), "This token is not known, was revoked, or has expired.");
  return html`<form onSubmit=${submit}>
    <${Field} label="Token" wrong=${wrong} hint="One of 'everwatch api-token create NAME --role operator', or the one that 'everwatch api' prints.">
      ${(id) => html`<input class="input" id=${id} type="password" name="token" autocomplete="off" required value=${token} onInput=${(event) => setToken(event.target.value)} autofocus=${isFirst} />`}
    </${Field}>
    <button class="button primary large" type="submit" disabled=${busy || !token.trim()}>Sign in</button>
  </form>`;
}
