// The console: signs in, then shows the shell with the page of the address.
import { html, render, useEffect, useState } from "./html.js";
import { signedOut } from "./api.js";
import { startLive } from "./live.js";
import "./prefs.js";
import { loadAll } from "./pages.js";
import { go, path, query, STATUS_PAGE, to } from "./router.js";
import { loadSession, session } from "./session.js";
import { Failure, Loading } from "../components/notice.js";
import { Shell } from "./shell.js";
import { SignIn } from "../pages/sign-in.js";

const LOAD_ALL_AFTER_MS = 3_000;

function Console() {
  const [error, setError] = useState(null);
  const start = () => {
    setError(null);
    loadSession().catch(setError);
  };
  useEffect(start, []);
  useEffect(() => {
    if (!session.value) return;
    if (path.value === "login") {
      // a status page that only who is signed in may read
      if (STATUS_PAGE.test(query.value.to ?? "")) window.location.replace(query.value.to);
      else go(to([]), { replace: true });
    }
    startLive();
    setTimeout(loadAll, LOAD_ALL_AFTER_MS);
  }, [session.value]);
  // an API that is restarting is asked again until it is there
  useEffect(() => {
    if (!error || error.status === 401) return undefined;
    const timer = setTimeout(start, 1_500);
    return () => clearTimeout(timer);
  }, [error]);
  if (signedOut.value) return html`<${SignIn} />`;
  if (session.value) return html`<${Shell} />`;
  return html`<main class="sign-in">${error ? html`<${Failure} error=${error} retry=${start} />` : html`<${Loading} lines="3" />`}</main>`;
}

render(html`<${Console} />`, document.getElementById("app"));
