// Requests to the worker. An error becomes an ApiError with a code.

const TIMEOUT_MS = 6000;
const REPLAY_TIMEOUT_MS = 30000;

export class ApiError extends Error {
  constructor(code, detail, correlationId = null) {
    super(detail);
    this.code = code;
    this.correlationId = correlationId;
  }
}

export const get = (path) => request(path, "GET", TIMEOUT_MS);
export const post = (path) => request(path, "POST", REPLAY_TIMEOUT_MS);

async function request(path, method, timeout) {
  let response;
  try {
    response = await fetch(path, { method, signal: AbortSignal.timeout(timeout), cache: "no-store" });
  } catch {
    throw new ApiError("no_answer", "the worker does not answer");
  }
  const body = await response.json().catch(() => null);
  if (response.ok && body !== null) return body;
  throw new ApiError(body?.code ?? "no_answer", body?.detail ?? `the worker answered with status ${response.status}`, body?.correlation_id);
}

// Calls `refresh` at an interval that begins after each answer; pauses while the tab is hidden.
export class Poll {
  constructor(interval, refresh) {
    this.interval = interval;
    this.refresh = refresh;
    this.running = false;
    document.addEventListener("visibilitychange", () => document.hidden || !this.running || this.now());
  }

  start() {
    if (!this.running) {
      this.running = true;
      this.now();
    }
  }

  stop() {
    this.running = false;
    clearTimeout(this.timer);
  }

  // `refresh` gets a function that returns whether its answer is still wanted: a later call replaces an earlier one.
  async now() {
    clearTimeout(this.timer);
    const call = (this.call = {});
    if (!document.hidden) await this.refresh(() => this.running && call === this.call);
    if (this.running && call === this.call) this.timer = setTimeout(() => this.now(), this.interval);
  }
}
