// Nothing to show, something failed, or still loading.
import { html } from "../app/html.js";
import { Icon } from "./icon.js";

export function Empty({ title, children, icon = "info" }) {
  return html`<div class="notice"><div class="title"><${Icon} name=${icon} />${title}</div>${children && html`<p>${children}</p>`}</div>`;
}

// what a person can do about it, by code of the problem document
const REMEDIES = {
  unreachable: "The API process may be restarting. The console tries again by itself; if this stays, look whether 'everwatch api' runs.",
  database_unavailable: "Look whether the database runs: 'everwatch doctor' says what it finds. Monitors go on without it.",
  kafka_unavailable: "Look whether the brokers run: 'everwatch doctor' says what it finds.",
  behind: "The sink has not stored your last change yet. Try again in a moment.",
  forbidden: "Sign in with a token that has the role for it.",
  not_found: "It may have been deleted. Its results are kept: look at the changes of the user.",
  invalid_cursor: "The page belongs to other filters: go back to the first page.",
  no_such_path: "This console and the API are of different versions: reload the page.",
  rate_limited: "Close tabs that are not needed, and wait a minute: the limit is for the token that this session began with.",
  unhandled: "This is a bug: report it with the request id, and with what the log of the API says of it.",
};

export const remedyOf = (error) => REMEDIES[error.code] ?? "";

export function Failure({ error, retry, what = "" }) {
  return html`<div class="notice error" role="alert">
    <div class="title"><${Icon} name="incidents" />${what ? `${what} is not known: ` : ""}${error.message}</div>
    ${error.errors?.length > 0 && html`<ul>${error.errors.map((each) => html`<li><code>${each.path}</code> ${each.reason}</li>`)}</ul>`}
    ${remedyOf(error) && html`<p>${remedyOf(error)}</p>`}
    ${error.requestId && html`<p class="faint small">Request <code>${error.requestId}</code></p>`}
    ${retry && html`<button class="button" type="button" onClick=${retry}>Try again</button>`}
  </div>`;
}

export function Loading({ lines = 5 }) {
  return html`<div class="skeleton" role="status"><span class="unseen">Loading</span>${Array.from({ length: lines }, () => html`<span></span>`)}</div>`;
}

export function Banner({ tone = "", icon = "info", children }) {
  return html`<div class=${`banner ${tone}`} role=${tone === "bad" ? "alert" : "status"}><${Icon} name=${icon} /><span class="grow">${children}</span></div>`;
}

/** What a view shows of loaded data: the data, else why there is none. */
export function Loaded({ of, lines, what, children }) {
  const { data, error, loading, reload } = of;
  if (data === undefined && error) return html`<${Failure} error=${error} retry=${reload} what=${what} />`;
  if (data === undefined) return loading ? html`<${Loading} lines=${lines} />` : null;
  return html`${error && html`<${Banner} tone="warn" icon="incidents">What you see is older: ${error.message}</${Banner}>`}${children(data)}`;
}
