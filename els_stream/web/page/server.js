// What the worker answers; what goes wrong is a Trouble with a code.

const PATIENCE = 6000;
const REPLAY_PATIENCE = 30000;

export class Trouble extends Error {
  constructor(code, detail, correlation = null) {
    super(detail);
    this.code = code;
    this.correlation = correlation;
  }
}

export const get = (path) => ask(path, "GET", PATIENCE);
export const post = (path) => ask(path, "POST", REPLAY_PATIENCE);

async function ask(path, method, patience) {
  let answer;
  try {
    answer = await fetch(path, { method, signal: AbortSignal.timeout(patience), cache: "no-store" });
  } catch {
    throw new Trouble("no_answer", "the worker does not answer");
  }
  const body = await answer.json().catch(() => null);
  if (answer.ok && body !== null) return body;
  throw new Trouble(body?.code ?? "no_answer", body?.detail ?? `the worker answered ${answer.status}`, body?.correlation_id);
}

// Asks again and again, with a pause after each answer; not while nobody looks.
export class Poll {
  constructor(pause, look) {
    this.pause = pause;
    this.look = look;
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

  // What was asked before and is answered later is no longer wanted.
  async now() {
    clearTimeout(this.timer);
    const turn = (this.turn = {});
    if (!document.hidden) await this.look(() => this.running && turn === this.turn);
    if (this.running && turn === this.turn) this.timer = setTimeout(() => this.now(), this.pause);
  }
}
