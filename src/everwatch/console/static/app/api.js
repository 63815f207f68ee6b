// Requests to the HTTP API, and what became of them.
import { signal } from "./html.js";
import { encode } from "./router.js";

/** Set when the API does not know who asks; the shell shows the sign-in form then. */
export const signedOut = signal(false);
/** Grows when the API is back after it was unavailable: views load again. */
export const epoch = signal(0);
/** Set when a request did not reach the API. */
export const unreachable = signal(false);

// reads within this time after a write see it
const SEE_WRITES_MS = 10_000;
// what early.js asked for before there were modules; an answer that is not taken soon is old
const BEGUN_FOR_MS = 10_000;
const { begun } = window.everwatch;
/** The requests that early.js begins, as it makes them. */
export const first = window.everwatch.first;
/** How many monitors a page of them has. */
export const PAGE = window.everwatch.PAGE;
let position = "";
let positionUntil = 0;

export class ApiError extends Error {
  constructor(status, problem) {
    super(problem.detail || problem.title || `The API answered ${status}.`);
    this.status = status;
    this.code = problem.code ?? "";
    this.errors = problem.errors ?? [];
    this.requestId = problem.request_id ?? "";
  }
}

/** Send a request; returns ``{status, data, etag}``. Raises ApiError. */
export async function request(method, path, { query, body, headers = {}, signal: stop, type = "application/json" } = {}) {
  const text = query ? encode(query) : "";
  const given = { Accept: "application/json", ...headers };
  if (method !== "GET") given["X-Everwatch-Console"] = "1";
  if (body !== undefined) given["Content-Type"] = type;
  if (method === "GET" && position && Date.now() < positionUntil) given["Everwatch-After"] = position;
  const url = text ? `${path}?${text}` : path;
  let response;
  try {
    response = (await taken(method, url, stop)) ?? await fetch(url, {
      method, headers: given, signal: stop, credentials: "same-origin",
      body: body === undefined || typeof body === "string" ? body : JSON.stringify(body),
    });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    unreachable.value = true;
    throw new ApiError(0, { code: "unreachable", detail: "The API does not answer." });
  }
  unreachable.value = false;
  const written = response.headers.get("Everwatch-Position");
  if (written) {
    position = written;
    positionUntil = Date.now() + SEE_WRITES_MS;
  }
  const data = await decoded(response);
  if (!response.ok) {
    if (response.status === 401) {
      begun.clear();
      signedOut.value = true;
    }
    throw new ApiError(response.status, data && typeof data === "object" ? data : {});
  }
  return { status: response.status, data, etag: response.headers.get("ETag") ?? "" };
}

/** The answer to a request that was begun before; once, and undefined where there is none. */
async function taken(method, url, stop) {
  // after a change, and after somebody else signed in, they are old
  if (method !== "GET") begun.clear();
  const answer = performance.now() < BEGUN_FOR_MS ? begun.get(url) : undefined;
  begun.delete(url);
  const response = await answer;
  stop?.throwIfAborted();
  return response;
}

async function decoded(response) {
  const type = response.headers.get("Content-Type") ?? "";
  if (response.status === 204) return null;
  if (type.includes("ndjson")) return (await response.text()).trim().split("\n").filter(Boolean).map((line) => JSON.parse(line));
  if (type.includes("json")) return response.json();
  return response.text();
}

export const get = async (path, options) => (await request("GET", path, options)).data;

/** A write that is carried out once, however often it is sent; of those that take an Idempotency-Key. */
export function write(method, path, { headers, ...options } = {}) {
  return request(method, path, { ...options, headers: { "Idempotency-Key": newId(), ...headers } });
}

/** Many commands in one request; returns an outcome for each, in order. */
export async function batch(commands) {
  const body = commands.map((command) => JSON.stringify(command)).join("\n") + "\n";
  const answer = await request("POST", "/v1/batch", { body, type: "application/x-ndjson", headers: { Prefer: "wait=20", "Idempotency-Key": newId() } });
  const last = answer.data.map((each) => each.position).filter(Boolean).at(-1);
  if (last) {
    position = last;
    positionUntil = Date.now() + SEE_WRITES_MS;
  }
  return answer.data;
}

export const monitorPath = (userId, monitorId, rest = "") => first.monitor(userId, monitorId) + rest;
export const userPath = (userId, rest = "") => first.user(userId) + rest;

function newId() {
  // crypto.randomUUID is there on secure origins only
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}
