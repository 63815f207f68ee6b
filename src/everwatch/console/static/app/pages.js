// Every page: its place in the navigation, its address, and the route of the API without which it is left out.
import { computed } from "./html.js";
import { has, seesAll } from "./session.js";
import { Audit } from "../pages/audit.js";
import { Changes } from "../pages/changes.js";
import { DeadLetters } from "../pages/dead-letters.js";
import { Import } from "../pages/import.js";
import { Incidents } from "../pages/incidents.js";
import { Jobs } from "../pages/jobs.js";
import { LivePage } from "../pages/live.js";
import { MonitorPage } from "../pages/monitor.js";
import { Monitors } from "../pages/monitors.js";
import { Notifications } from "../pages/notifications.js";
import { Overview } from "../pages/overview.js";
import { Partitions } from "../pages/partitions.js";
import { StatusPages } from "../pages/status-pages.js";
import { Tasks } from "../pages/tasks.js";
import { Tokens } from "../pages/tokens.js";
import { UserPage } from "../pages/user.js";
import { Users } from "../pages/users.js";

const PAGES = [
  { path: "", name: "Overview", icon: "overview", key: "o", page: Overview, group: 0 },
  { path: "monitors", name: "Monitors", icon: "monitors", key: "m", page: Monitors, group: 0 },
  { path: "users", name: "Users", icon: "users", key: "u", page: Users, group: 0 },
  { path: "tasks", name: "Tasks", icon: "tasks", key: "t", page: Tasks, group: 0 },
  { path: "jobs", name: "Jobs", icon: "play", key: "j", page: Jobs, group: 0, needs: "GET /v1/jobs" },
  { path: "import", name: "Import", icon: "upload", key: "f", page: Import, group: 0, needs: "POST /v1/import" },
  { path: "changes", name: "Changes", icon: "changes", key: "c", page: Changes, group: 1 },
  { path: "live", name: "Live", icon: "live", key: "l", page: LivePage, group: 1 },
  { path: "incidents", name: "Incidents", icon: "incidents", key: "i", page: Incidents, group: 1, needs: "GET /v1/incidents" },
  { path: "notifications", name: "Notifications", icon: "bell", key: "n", page: Notifications, group: 1, needs: "GET /v1/deliveries" },
  { path: "status-pages", name: "Status pages", icon: "status", key: "s", page: StatusPages, group: 1, needs: "GET /v1/status-pages", whole: true },
  { path: "partitions", name: "Partitions", icon: "partitions", key: "p", page: Partitions, group: 2, whole: true },
  { path: "dead-letters", name: "Dead letters", icon: "letters", key: "d", page: DeadLetters, group: 2, needs: "GET /v1/dead-letters", whole: true },
  { path: "audit", name: "Audit", icon: "audit", key: "a", page: Audit, group: 2, needs: "GET /v1/audit", whole: true },
  { path: "tokens", name: "Tokens", icon: "key", key: "k", page: Tokens, group: 2, needs: "GET /v1/tokens", whole: true },
];

export const GROUPS = ["", "What happened", "The system"];

/** The pages that there are for this person and this API. */
export const pages = computed(() => PAGES.filter((each) => (!each.needs || has(each.needs)) && (!each.whole || seesAll.value)));

/** Address patterns and their pages. */
export const routes = computed(() => [
  ...pages.value.map((each) => [each.path, each.page]),
  ["users/:user", UserPage],
  ["users/:user/monitors/:monitor", MonitorPage],
]);
