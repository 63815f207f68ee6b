// Who is signed in, and which parts of the API there are.
import { computed, signal } from "./html.js";
import { epoch, first, get, request, signedOut } from "./api.js";
import { forget } from "./load.js";

export const session = signal(null);

const scopes = computed(() => new Set(session.value?.scopes ?? []));
const routes = computed(() => new Set(session.value?.routes ?? []));

/** Whether the API has a route, as "GET /v1/dead-letters". */
export const has = (route) => routes.value.has(route);
export const may = (scope) => scopes.value.has(scope);
/** Whether the token sees the whole system, and not one user. */
export const seesAll = computed(() => !session.value?.user_id);

/** Ask who is signed in. Raises ApiError. */
export async function loadSession() {
  const found = await get(first.session());
  if (!found.routes) found.routes = await routesOf();
  signedOut.value = false;
  session.value = found;
}

/** Sign in by a route of the API: ``/login`` with a token, ``/login/password``. Raises ApiError. */
export async function signIn(path, body) {
  await request("POST", path, { body });
  forget();
  await loadSession();
  epoch.value += 1;
}

export async function signOut() {
  const { data } = await request("POST", "/logout");
  if (data?.location) {
    // the identity provider ends its own session
    window.location.assign(data.location);
    return;
  }
  forget();
  session.value = null;
  signedOut.value = true;
}

async function routesOf() {
  const { paths } = await get("/openapi.json");
  return Object.entries(paths).flatMap(([path, methods]) => Object.keys(methods).map((method) => `${method.toUpperCase()} ${path}`));
}
