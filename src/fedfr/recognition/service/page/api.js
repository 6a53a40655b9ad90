// Calls of the service. The token is kept in sessionStorage alone and sent in a header, never in an address.

const KEY = "fedfr-token";
const SECONDS = { GET: 30, POST: 300, DELETE: 60 };

/** Why a call did not succeed, in words for people. */
export class Problem extends Error {
  constructor(message, { status = 0, code = "", details = {}, requestId = "", retryAfter = 0 } = {}) {
    super(message);
    Object.assign(this, { status, code, details, requestId, retryAfter });
  }

  get lost() {
    return this.code === "lost";
  }
}

/** Listeners: `refused(problem)` when a token is needed, `connected(bool)` after each call. */
export const watchers = { refused: () => {}, connected: () => {} };

export const token = {
  get: () => sessionStorage.getItem(KEY) ?? "",
  set: (text) => sessionStorage.setItem(KEY, text),
  clear: () => sessionStorage.removeItem(KEY),
};

export const get = (path, options) => call("GET", path, options);
export const post = (path, body, options) => call("POST", path, { ...options, body });
export const remove = (path, options) => call("DELETE", path, options);

/** Return a form with one field or file per pair. */
export function formOf(pairs) {
  const form = new FormData();
  for (const [name, value, file] of pairs) file ? form.append(name, value, file) : form.append(name, value);
  return form;
}

async function call(method, path, { body, signal } = {}) {
  const limit = new AbortController();
  const timer = setTimeout(() => limit.abort(), SECONDS[method] * 1000);
  const stop = () => limit.abort();
  signal?.addEventListener("abort", stop);
  try {
    const response = await answer(method, path, body, limit.signal, signal);
    const content = await response.json().catch(() => null);
    watchers.connected(true);
    if (response.ok && content !== null) return content;
    throw problemOf(response, content);
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener("abort", stop);
  }
}

async function answer(method, path, body, limit, signal) {
  const headers = { Accept: "application/json" };
  if (token.get()) headers.Authorization = `Bearer ${token.get()}`;
  const plain = body !== undefined && !(body instanceof FormData);
  if (plain) headers["Content-Type"] = "application/json";
  const sent = plain ? JSON.stringify(body) : body;
  try {
    return await fetch(path, { method, headers, body: sent, signal: limit, cache: "no-store", credentials: "omit" });
  } catch (error) {
    if (signal?.aborted) throw new Problem("stopped", { code: "stopped" });
    watchers.connected(false);
    throw new Problem(limit.aborted ? "The service does not answer." : "The service cannot be reached.", { code: "lost" });
  }
}

function problemOf(response, content) {
  const error = content?.error ?? {};
  const problem = new Problem(sentence(error.message ?? `the service answered with status ${response.status}`), {
    status: response.status,
    code: error.code ?? "",
    details: error.details ?? {},
    requestId: content?.request_id ?? response.headers.get("X-Request-ID") ?? "",
    retryAfter: Number(response.headers.get("Retry-After")) || 0,
  });
  if (problem.status === 401) watchers.refused(problem);
  return problem;
}

/** Return a text of the service as a sentence. */
export function sentence(text) {
  const whole = text.charAt(0).toUpperCase() + text.slice(1);
  return /[.!?…]$/.test(whole) ? whole : `${whole}.`;
}
