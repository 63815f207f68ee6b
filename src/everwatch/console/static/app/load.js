// Data of a view: shown from the last answer at once, then loaded again; what was shown stays while that fails.
import { useCallback, useEffect, useRef, useState } from "./html.js";
import { epoch, get } from "./api.js";
import { encode } from "./router.js";

const MOST_KEPT = 60;
const kept = new Map();

function keep(key, data) {
  kept.delete(key);
  kept.set(key, data);
  if (kept.size > MOST_KEPT) kept.delete(kept.keys().next().value);
}

/** Forget all answers, as after another person signed in. */
export const forget = () => kept.clear();

/**
 * Load a resource. ``path`` null loads nothing; ``every``: load again after so many ms, while the page is visible.
 * Returns ``{data, error, loading, at, reload, patch}``; ``patch`` changes what is shown until it is loaded again.
 */
export function useGet(path, query, { every = 0 } = {}) {
  const text = query ? encode(query) : "";
  const key = path === null ? null : text ? `${path}?${text}` : path;
  const [nonce, setNonce] = useState(0);
  const [state, setState] = useState({ key: null, data: undefined, error: null, loading: false, at: 0 });
  const timer = useRef(0);
  const since = epoch.value;

  useEffect(() => {
    if (key === null) return undefined;
    const stop = new AbortController();
    setState((before) => ({ key, data: before.key === key ? before.data : kept.get(key), error: null, loading: true, at: before.at }));
    const load = async () => {
      try {
        const data = await get(key, { signal: stop.signal });
        keep(key, data);
        setState({ key, data, error: null, loading: false, at: Date.now() });
      } catch (error) {
        if (stop.signal.aborted) return;
        setState((before) => ({ ...before, error, loading: false }));
      }
      if (every && !stop.signal.aborted) timer.current = setTimeout(again, every);
    };
    const again = () => {
      if (document.hidden) timer.current = setTimeout(again, every);
      else load();
    };
    load();
    return () => {
      stop.abort();
      clearTimeout(timer.current);
    };
  }, [key, nonce, since, every]);

  const reload = useCallback(() => setNonce((n) => n + 1), []);
  const patch = useCallback((change) => setState((before) => {
    if (before.data === undefined) return before;
    const data = change(before.data);
    if (data !== before.data) keep(before.key, data);
    return data === before.data ? before : { ...before, data };
  }), []);
  const current = state.key === key ? state : { data: kept.get(key), error: null, loading: key !== null, at: 0 };
  return { ...current, reload, patch };
}

/** A function that runs ``act`` at most once in ``ms``, the last time at the end. */
export function useThrottled(act, ms) {
  const latest = useRef(act);
  latest.current = act;
  const timer = useRef(0);
  const last = useRef(0);
  useEffect(() => () => clearTimeout(timer.current), []);
  return useCallback(() => {
    if (timer.current) return;
    const wait = Math.max(0, last.current + ms - Date.now());
    timer.current = setTimeout(() => {
      timer.current = 0;
      last.current = Date.now();
      latest.current();
    }, wait);
  }, [ms]);
}

/** A value that follows ``value`` once it has been the same for ``ms``. */
export function useSettled(value, ms) {
  const [settled, setSettled] = useState(value);
  useEffect(() => {
    const timer = setTimeout(() => setSettled(value), ms);
    return () => clearTimeout(timer);
  }, [value, ms]);
  return settled;
}
