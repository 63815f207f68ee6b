// What a check found that was run once.
import { html } from "../app/html.js";
import { certificateEnd, duration, phasesOf } from "../app/format.js";
import { State } from "./state.js";
import { CertificateLeft } from "./time.js";

export function Trial({ found }) {
  const phases = phasesOf(found.timings);
  const certificate = certificateEnd(found);
  return html`<div class="trial">
    <p><${State} state=${found.status} /> in ${duration(found.duration_ms)}${found.executor && html`<span class="faint">, by ${found.executor}</span>`}. <span class="faint">Nothing was stored.</span></p>
    ${found.reason && html`<p class="why">${found.reason}</p>`}
    ${phases.length > 0 && html`<p class="small muted">${phases.map(([name, ms]) => `${name.replace("_", " ")} ${duration(ms)}`).join(" · ")}</p>`}
    ${certificate && html`<p class="small muted">certificate <${CertificateLeft} end=${certificate} /></p>`}
    ${found.detail && html`<pre class="json">${found.detail}</pre>`}
  </div>`;
}
