// Status pages of operators: where each is, and at which domain.
import { html } from "../app/html.js";
import { useGet } from "../app/load.js";
import { to } from "../app/router.js";
import { Copy } from "../components/copy.js";
import { Empty, Loaded } from "../components/notice.js";
import { Table } from "../components/table.js";

const ACCESS = {
  public: ["everybody", "Everybody with the address reads it"],
  link: ["the link", "Only its secret link opens it: whoever has the link reads it"],
  "signed-in": ["signed in", "Only people who are signed in here, or send a token, read it"],
};

export function StatusPages() {
  const list = useGet("/v1/status-pages");
  return html`
    <div class="page-head"><h1>Status pages</h1><span class="sub">of operators; a user's is on the user's page</span></div>
    <section class="panel" aria-label="Status pages"><${Loaded} of=${list} lines="3">${({ items }) => (items.length === 0
      ? html`<${Empty} title="No pages of operators" icon="overview">Write a file of pages and name it in <code>EVERWATCH_STATUS_FILE</code>: each shows monitors of several users, chosen by a selector, with a title, a logo, notices and maintenance. Each user has a page anyway: see <a class="link" href=${to(["users"])}>Users</a>.</${Empty}>`
      : html`<${Table} label="Status pages" rows=${items} keyOf=${(each) => each.slug} tall columns=${[
          { id: "title", label: "Page", cell: (each) => html`<span class="two"><a class="name" href=${each.html} target="_blank" rel="noreferrer">${each.title}</a><span class="small faint">${each.slug}</span></span>` },
          { id: "access", label: "For", width: "w-m", cell: (each) => html`<span class="tag" title=${ACCESS[each.access]?.[1]}>${ACCESS[each.access]?.[0] ?? each.access}</span>` },
          { id: "domain", label: "Domain", width: "w-l", narrow: false, cell: (each) => each.domain || html`<span class="faint">none</span>` },
          { id: "address", label: "Address", width: "w-xxl", narrow: false, wide: true, cell: (each) => html`<${Copy} text=${`${window.location.origin}${each.html}`} />` },
          { id: "badge", label: "Badge", width: "w-s", narrow: false, cell: (each) => html`<a class="link" href=${each.badge} target="_blank" rel="noreferrer">SVG</a>` },
          { id: "feed", label: "Feed", width: "w-s", cell: (each) => html`<a class="link" href=${each.atom} target="_blank" rel="noreferrer">Atom</a>` },
        ]} />`)}</${Loaded}></section>`;
}
