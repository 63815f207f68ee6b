// Runs before the first paint and before the modules are there: a dark console does not flash white, and what a page asks
// the API for at its start is under way meanwhile. Pages take these requests from here, app/api.js their answers. Bundles
// (console/bundling.py) hand their modules over to it.
(function () {
  try {
    const theme = localStorage.getItem("everwatch.theme");
    if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
  } catch {
    // storage is switched off: the system's theme applies
  }
  const monitorList = ["state", "kind", "plan", "label", "target", "q", "user", "sort", "reverse", "cursor"];
  const PAGE = 50;
  const listed = (given) => [...monitorList.filter((name) => given[name]).map((name) => [name, given[name]]), ["limit", PAGE]];
  const at = (path, query) => `${path}?${new URLSearchParams(query)}`;
  const first = {
    session: () => "/v1/me",
    overview: () => "/v1/overview",
    down: () => at("/v1/monitors", listed({ state: "down", sort: "state-since" })),
    monitors: (given) => at("/v1/monitors", listed(given)),
    user: (user) => `/v1/users/${encodeURIComponent(user)}`,
    monitor: (user, monitor) => `/v1/users/${encodeURIComponent(user)}/monitors/${encodeURIComponent(monitor)}`,
  };
  // modules of bundles are functions, each called once, when it is first needed
  const makers = new Map();
  const modules = new Map();
  const base = document.currentScript.src;
  const place = (name) => new URL(name, base).href;
  const define = (name, make) => makers.has(name) || makers.set(name, make);
  const need = (name) => {
    if (!modules.has(name)) modules.set(name, makers.get(name)());
    return modules.get(name);
  };
  const part = async (name) => {
    if (!makers.has(name)) await import(place(`bundles/${name}`));
    return need(name);
  };
  const rest = () => import(place("bundles/rest.js"));
  const begun = new Map();
  window.everwatch = { PAGE, first, begun, define, need, part, rest, at: place };
  const begin = (url) => {
    const answer = fetch(url, { headers: { Accept: "application/json" }, credentials: "same-origin" });
    answer.catch(() => undefined);
    begun.set(url, answer);
  };
  begin(first.session());
  const { pathname, search } = window.location;
  const view = pathname.replace(/^\/console\/?/, "").replace(/\/$/, "");
  const [, user, monitor] = /^users\/([^/]+)(?:\/monitors\/([^/]+))?$/.exec(view) ?? [];
  try {
    if (view === "monitors") begin(first.monitors(Object.fromEntries(new URLSearchParams(search))));
    else if (view === "") [first.overview(), first.down()].forEach(begin);
    else if (monitor) begin(first.monitor(decodeURIComponent(user), decodeURIComponent(monitor)));
    else if (user) begin(first.user(decodeURIComponent(user)));
  } catch {
    // no address of a user: the page says so
  }
})();
