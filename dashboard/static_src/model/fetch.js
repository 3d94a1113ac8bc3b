/** Asking our own server for JSON. */

const TIMEOUT = 20_000;

/** The server refused or could not be reached; `message` tells the user what is wrong and what to do. */
export class ApiError extends Error {
  constructor(message, { code, status = 0 }) {
    super(message);
    this.code = code;
    this.status = status;
  }
}

/** The JSON at `url`. Throws ApiError; an abort by the caller's `signal` is thrown on as it is. */
export async function getJson(url, { signal } = {}) {
  const timeout = AbortSignal.timeout(TIMEOUT);
  let response;
  try {
    response = await fetch(url, {
      headers: { Accept: "application/json" },
      credentials: "same-origin",
      signal: signal ? AbortSignal.any([signal, timeout]) : timeout,
    });
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new ApiError("The server could not be reached. Check your connection and try again.", { code: "unreachable" });
  }
  const reply = await response.json().catch(() => null);
  if (response.ok && reply !== null) return reply;
  const detail = reply?.error?.detail ?? `The server answered with an error (${response.status}). Try again in a moment.`;
  throw new ApiError(detail, { code: reply?.error?.code ?? "server_error", status: response.status });
}
