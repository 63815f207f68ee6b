// Pages whose modules are loaded when they are first shown: a cold start loads what the page of its address needs.
import { html, useEffect, useState } from "./html.js";
import { Failure, Loading } from "../components/notice.js";

/** A component that is the export ``name`` of a module that ``load`` imports; ``.load()`` imports it ahead. */
export function lazily(load, name) {
  let found = null;
  const get = async () => (found ??= (await load())[name]);
  function Lazily(props) {
    const [, setLoaded] = useState(false);
    const [error, setError] = useState(null);
    const ask = () => {
      setError(null);
      get().then(() => setLoaded(true), () => setError(new Error("This page could not be loaded: the API does not answer.")));
    };
    useEffect(() => {
      if (!found) ask();
    }, []);
    if (found) return html`<${found} ...${props} />`;
    return error ? html`<section class="panel"><${Failure} error=${error} retry=${ask} /></section>` : html`<section class="panel"><${Loading} lines="8" /></section>`;
  }
  Lazily.load = () => get().catch(() => undefined);
  return Lazily;
}
