// Saved views: addresses of a page with their names, kept by the API and shared with those who see the same.
import { html } from "../app/html.js";
import { request } from "../app/api.js";
import { useGet } from "../app/load.js";
import { encode, go, query, to } from "../app/router.js";
import { has, may } from "../app/session.js";
import { ask } from "./dialog.js";
import { Action, Field } from "./form.js";
import { Icon } from "./icon.js";
import { told } from "./toast.js";

function NameBody({ values }) {
  return html`<${Field} label="Name" hint="The filters and the order of this page, for everybody who sees the same monitors.">${(id) => html`<input class="input" id=${id} required maxLength="60" autofocus onInput=${(event) => (values.name = event.target.value.trim())} />`}</${Field}>`;
}

/** The saved views of a page as links, and a button that saves the present one. */
export function Views({ page }) {
  const list = useGet(has("GET /v1/views") ? "/v1/views" : null);
  const { cursor: _, ...given } = query.value;
  const text = encode(given);
  const own = (list.data?.items ?? []).filter((each) => each.page === page);
  const at = own.find((each) => each.query === text);
  const mayWrite = may("run") && has("PUT /v1/views");
  const save = () => ask({
    title: "Save this view", action: "Save", body: NameBody,
    submit: async ({ name = "" }) => {
      if (!name) throw new Error("A view needs a name.");
      await request("PUT", "/v1/views", { body: { page, name, query: text } });
      list.reload();
    },
  });
  const remove = async () => {
    if (await told(`The view ${at.name} is deleted.`, () => request("DELETE", `/v1/views/${encodeURIComponent(at.view_id)}`))) {
      list.reload();
      go(to([page]));
    }
  };
  if (!own.length && !(text && mayWrite)) return null;
  return html`<div class="views" role="group" aria-label="Saved views">
    ${own.map((each) => html`<a key=${each.view_id} class="tag" title=${`Saved by ${each.created_by}`} aria-current=${each === at ? "true" : undefined} href=${`${to([page])}${each.query ? `?${each.query}` : ""}`}>${each.name}</a>`)}
    ${mayWrite && text && !at && html`<button class="button plain" type="button" onClick=${save}><${Icon} name="plus" size="14" />Save view</button>`}
    ${mayWrite && at && html`<${Action} icon="remove" look="plain" act=${remove}>Delete view</${Action}>`}
  </div>`;
}
