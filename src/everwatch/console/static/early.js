// Runs before the first paint and before the modules are there: a dark console does not flash white, and what every start
// asks the API for is under way meanwhile. app/api.js takes the answers.
(function () {
  try {
    const theme = localStorage.getItem("everwatch.theme");
    if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
  } catch {
    // storage is switched off: the system's theme applies
  }
  const begun = new Map();
  window.everwatchBegun = begun;
  const begin = (url) => {
    const answer = fetch(url, { headers: { Accept: "application/json" }, credentials: "same-origin" });
    answer.catch(() => undefined);
    begun.set(url, answer);
  };
  begin("/v1/me");
  const { pathname, search } = window.location;
  const view = pathname.replace(/^\/console\/?/, "").replace(/\/$/, "");
  if (view === "monitors") {
    // the order is that of pages/monitors.js
    const given = new URLSearchParams(search);
    const asked = new URLSearchParams();
    for (const name of ["state", "kind", "plan", "label", "target", "q", "user", "sort", "reverse", "cursor"]) {
      if (given.get(name)) asked.set(name, given.get(name));
    }
    asked.set("limit", "50");
    begin(`/v1/monitors?${asked}`);
  } else if (view === "") {
    begin("/v1/overview");
    begin("/v1/monitors?state=down&sort=state-since&limit=50");
  } else if (/^users\/[^/]+(\/monitors\/[^/]+)?$/.test(view)) {
    begin(`/v1/${view}`);
  }
})();
