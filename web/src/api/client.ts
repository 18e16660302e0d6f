/** The HTTP API: every answer typed, every failure one shape. */
import type { CallDetail, CoverageReport, SessionDetail, SessionList, Status, Timeline, Verdict } from "./types";

/** What the server says about a failure: what happened, why, what to do next, and where. */
export class ApiError extends Error {
  constructor(
    readonly code: string,
    readonly what: string,
    readonly why: string | null = null,
    readonly hint: string | null = null,
    readonly place: string | null = null,
    readonly status = 0,
  ) {
    super(what);
    this.name = "ApiError";
  }
}

type Parameters = Record<string, string | number | null | undefined>;

function text(value: unknown): string | null {
  return typeof value === "string" && value !== "" ? value : null;
}

/** Turns a failed answer's body into an ApiError; tolerates bodies that are not ours (a proxy's page, nothing). */
export function errorFromBody(status: number, body: unknown): ApiError {
  const found = typeof body === "object" && body !== null ? (body as Record<string, unknown>)["error"] : null;
  if (typeof found === "object" && found !== null) {
    const error = found as Record<string, unknown>;
    const what = text(error["what"]) ?? `The server answered ${status}`;
    return new ApiError(
      text(error["code"]) ?? String(status),
      what,
      text(error["why"]),
      text(error["hint"]) ?? (status === 401 ? signInHint : null),
      text(error["place"]),
      status,
    );
  }
  const hint = status === 401 || status === 403 ? signInHint : "Look at the daemon's log: wk doctor shows where it is.";
  return new ApiError(String(status), `The server answered ${status}`, null, hint, null, status);
}

const signInHint = "Run wk url in a terminal and open the address it prints; it signs this browser in once.";

/** Builds a path with only those parameters that say something. */
export function address(path: string, parameters: Parameters = {}): string {
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(parameters)) {
    if (value !== null && value !== undefined && value !== "") query.set(name, String(value));
  }
  const tail = query.toString();
  return tail ? `${path}?${tail}` : path;
}

async function request<T>(method: "GET" | "POST", path: string, signal?: AbortSignal): Promise<T> {
  let response: Response;
  try {
    const headers: Record<string, string> = { Accept: "application/json" };
    if (method === "POST") headers["Content-Type"] = "application/json";
    response = await fetch(path, {
      method,
      headers,
      credentials: "same-origin",
      ...(method === "POST" ? { body: "{}" } : {}),
      ...(signal ? { signal } : {}),
    });
  } catch (cause) {
    if (signal?.aborted) throw cause;
    throw new ApiError(
      "unreachable",
      "The server does not answer",
      "The connection was refused or broke off.",
      "Start it with wk up; this page tries again by itself.",
    );
  }
  const body: unknown = await response.json().catch(() => null);
  if (!response.ok) throw errorFromBody(response.status, body);
  if (body === null) throw new ApiError("not_json", "The server's answer is not JSON", null, null, path, response.status);
  return body as T;
}

export interface SessionFilter {
  q?: string;
  project?: string;
  since?: string;
  until?: string;
  limit?: number;
  cursor?: string | null;
}

const part = encodeURIComponent;

export const api = {
  status: (signal?: AbortSignal) => request<Status>("GET", "/api/status", signal),
  sessions: (filter: SessionFilter, signal?: AbortSignal) =>
    request<SessionList>("GET", address("/api/sessions", { ...filter }), signal),
  session: (id: string, signal?: AbortSignal) => request<SessionDetail>("GET", `/api/sessions/${part(id)}`, signal),
  timeline: (id: string, cursor: string | null, limit: number, signal?: AbortSignal) =>
    request<Timeline>("GET", address(`/api/sessions/${part(id)}/timeline`, { cursor, limit }), signal),
  call: (id: string, signal?: AbortSignal) => request<CallDetail>("GET", `/api/calls/${part(id)}`, signal),
  coverage: (session: string | null, signal?: AbortSignal) =>
    request<CoverageReport>("GET", address("/api/coverage", { session }), signal),
  verify: (signal?: AbortSignal) => request<Verdict>("GET", "/api/verify", signal),
  loadDemo: () => request<unknown>("POST", "/api/demo"),
};

/** Any thrown thing as an ApiError, so that screens show one shape. */
export function asApiError(thrown: unknown): ApiError {
  if (thrown instanceof ApiError) return thrown;
  const why = thrown instanceof Error ? thrown.message : String(thrown);
  return new ApiError("page", "This page failed", why, "Reload it; if it stays, report it with this text.");
}
