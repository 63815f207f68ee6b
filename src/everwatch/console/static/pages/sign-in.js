// The form for those who are not signed in.
import { html, useState } from "../app/html.js";
import { signIn } from "../app/session.js";
import { query } from "../app/router.js";
import { Mark } from "../components/icon.js";
import { Field } from "../components/form.js";
import { Banner } from "../components/notice.js";

export function SignIn() {
  const [token, setToken] = useState("");
  const [wrong, setWrong] = useState("");
  const [busy, setBusy] = useState(false);
  const send = async (event) => {
    event.preventDefault();
    setBusy(true);
    setWrong("");
    try {
      await signIn(token.trim());
    } catch (error) {
      setWrong(error.status === 401 ? "This token is not known, was revoked, or has expired." : error.message);
      setBusy(false);
    }
  };
  return html`<main class="sign-in"><form onSubmit=${send}>
    <div class="brand"><${Mark} />Everwatch</div>
    <h1>Sign in</h1>
    ${query.value.error === "link" && html`<${Banner} tone="warn" icon="incidents">That link was used already or has expired. Sign in with a token.</${Banner}>`}
    <${Field} label="Token" wrong=${wrong} hint="One of 'everwatch api-token create NAME --role operator', or the one that 'everwatch api' prints.">
      ${(id) => html`<input class="input" id=${id} type="password" name="token" autocomplete="current-password" required value=${token} onInput=${(event) => setToken(event.target.value)} autofocus />`}
    </${Field}>
    <button class="button primary large" type="submit" disabled=${busy || !token.trim()}>Sign in</button>
  </form></main>`;
}
