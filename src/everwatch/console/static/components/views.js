// Saved views: addresses of a page with their names, kept in this browser.
import { html, signal } from "../app/html.js";
import { encode, go, query, to } from "../app/router.js";
import { ask } from "./dialog.js";
import { Field } from "./form.js";
import { Icon } from "./icon.js";

const NAME = "everwatch.views";
const MOST = 50;
const saved = signal(stored());

function stored() {
  try {
    const found = JSON.parse(localStorage.getItem(NAME) ?? "[]");
    return Array.isArray(found) ? found.filter((each) => typeof each?.name === "string" && typeof each?.page === "string" && typeof each?.text === "string") : [];
  } catch {
    return [];
  }
}

function keep(views) {
  saved.value = views.slice(-MOST);
  try {
    localStorage.setItem(NAME, JSON.stringify(saved.value));
  } catch {
    // storage is switched off: the views last as long as this page
  }
}

const same = (one, other) => one.page === other.page && one.name === other.name;

function NameBody({ values }) {
  return html`<${Field} label="Name" hint="The filters and the order of this page, kept in this browser.">${(id) => html`<input class="input" id=${id} required maxLength="60" autofocus onInput=${(event) => (values.name = event.target.value.trim())} />`}</${Field}>`;
}

/** The saved views of a page as links, and a button that saves the present one. */
export function Views({ page }) {
  const { cursor: _, ...given } = query.value;
  const text = encode(given);
  const own = saved.value.filter((each) => each.page === page);
  const at = own.find((each) => each.text === text);
  const save = () => ask({
    title: "Save this view", action: "Save", body: NameBody,
    submit: async ({ name = "" }) => {
      if (!name) throw new Error("A view needs a name.");
      const view = { name, page, text };
      keep([...saved.value.filter((each) => !same(each, view)), view]);
    },
  });
  if (!own.length && !text) return null;
  return html`<div class="views" role="group" aria-label="Saved views">
    ${own.map((each) => html`<a key=${each.name} class="tag" aria-current=${each === at ? "true" : undefined} href=${`${to([page])}${each.text ? `?${each.text}` : ""}`}>${each.name}</a>`)}
    ${text && !at && html`<button class="button plain" type="button" onClick=${save}><${Icon} name="plus" size="14" />Save view</button>`}
    ${at && html`<button class="button plain" type="button" onClick=${() => { keep(saved.value.filter((each) => each !== at)); go(to([page])); }}><${Icon} name="remove" size="14" />Forget view</button>`}
  </div>`;
}
