// Every page: its place in the navigation, its address, and the route of the API without which it is left out.
import { computed } from "./html.js";
import { lazily } from "./lazily.js";
import { has, seesAll } from "./session.js";

const PAGES = [
  { path: "", name: "Overview", icon: "overview", key: "o", page: lazily(() => import("../pages/overview.js"), "Overview"), group: 0 },
  { path: "monitors", name: "Monitors", icon: "monitors", key: "m", page: lazily(() => import("../pages/monitors.js"), "Monitors"), group: 0 },
  { path: "users", name: "Users", icon: "users", key: "u", page: lazily(() => import("../pages/users.js"), "Users"), group: 0 },
  { path: "tasks", name: "Tasks", icon: "tasks", key: "t", page: lazily(() => import("../pages/tasks.js"), "Tasks"), group: 0 },
  { path: "jobs", name: "Jobs", icon: "play", key: "j", page: lazily(() => import("../pages/jobs.js"), "Jobs"), group: 0, needs: "GET /v1/jobs" },
  { path: "import", name: "Import", icon: "upload", key: "f", page: lazily(() => import("../pages/import.js"), "Import"), group: 0, needs: "POST /v1/import" },
  { path: "changes", name: "Changes", icon: "changes", key: "c", page: lazily(() => import("../pages/changes.js"), "Changes"), group: 1 },
  { path: "live", name: "Live", icon: "live", key: "l", page: lazily(() => import("../pages/live.js"), "LivePage"), group: 1 },
  { path: "incidents", name: "Incidents", icon: "incidents", key: "i", page: lazily(() => import("../pages/incidents.js"), "Incidents"), group: 1, needs: "GET /v1/incidents" },
  { path: "notifications", name: "Notifications", icon: "bell", key: "n", page: lazily(() => import("../pages/notifications.js"), "Notifications"), group: 1, needs: "GET /v1/deliveries" },
  { path: "routes", name: "Routes", icon: "routes", key: "r", page: lazily(() => import("../pages/routes.js"), "Routes"), group: 1, needs: "GET /v1/routes", whole: true },
  { path: "status-pages", name: "Status pages", icon: "status", key: "s", page: lazily(() => import("../pages/status-pages.js"), "StatusPages"), group: 1, needs: "GET /v1/status-pages", whole: true },
  { path: "partitions", name: "Partitions", icon: "partitions", key: "p", page: lazily(() => import("../pages/partitions.js"), "Partitions"), group: 2, whole: true },
  { path: "dead-letters", name: "Dead letters", icon: "letters", key: "d", page: lazily(() => import("../pages/dead-letters.js"), "DeadLetters"), group: 2, needs: "GET /v1/dead-letters", whole: true },
  { path: "audit", name: "Audit", icon: "audit", key: "a", page: lazily(() => import("../pages/audit.js"), "Audit"), group: 2, needs: "GET /v1/audit", whole: true },
  { path: "tokens", name: "Tokens", icon: "key", key: "k", page: lazily(() => import("../pages/tokens.js"), "Tokens"), group: 2, needs: "GET /v1/tokens", whole: true },
];

const USER = lazily(() => import("../pages/user.js"), "UserPage");
const INCIDENT = lazily(() => import("../pages/incident.js"), "IncidentPage");
const MONITOR = lazily(() => import("../pages/monitor.js"), "MonitorPage");

/** Load the modules of all pages, so that the next one is there at once, also while the API is unavailable. */
export async function loadAll() {
  await window.everwatch.rest().catch(() => undefined);
  for (const page of [...PAGES.map((each) => each.page), USER, MONITOR, INCIDENT]) page.load();
}

export const GROUPS = ["", "What happened", "The system"];

/** The pages that there are for this person and this API. */
export const pages = computed(() => PAGES.filter((each) => (!each.needs || has(each.needs)) && (!each.whole || seesAll.value)));

/** Address patterns and their pages. */
export const routes = computed(() => [
  ...pages.value.map((each) => [each.path, each.page, each.name]),
  ["users/:user", USER],
  ["users/:user/monitors/:monitor", MONITOR],
  ...(has("GET /v1/incidents/{incident_id}") ? [["incidents/:incident", INCIDENT]] : []),
]);
