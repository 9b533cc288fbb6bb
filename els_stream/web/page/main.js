// Starts the polls, switches between overview and batch, and shows in one line whether the data is current.

import { Batch } from "./batch.js";
import { Batches } from "./batches.js";
import { DeadLetters } from "./dead_letters.js";
import { byId, duration, setText, spaced } from "./dom.js";
import { Overview } from "./overview.js";
import { Poll, get } from "./server.js";

const STALE_AFTER_SECONDS = 5;

const errors = new Map();
let status = null;
let answeredAt = performance.now();

function report(source, error) {
  if (error) errors.set(source, error);
  else errors.delete(source);
  showHealth();
}

const overview = new Overview();
const batches = new Batches(report);
const deadLetters = new DeadLetters(report);
const batch = new Batch(report);

async function refreshStatus() {
  try {
    status = await get("/api/status");
    answeredAt = performance.now();
    overview.showStatus(status);
    if (status.stats) deadLetters.offerReasons(status.stats.dead_letters);
    setText(byId("worker"), `answered by ${status.worker.host}, process ${status.worker.pid}`);
    report("status", null);
  } catch (error) {
    report("status", error);
  }
}

async function refreshHistory(isCurrent) {
  try {
    const history = await get("/api/history");
    if (isCurrent()) overview.showHistory(history);
  } catch {
    // The status poll meets the same error and reports it.
  }
}

const statusPoll = new Poll(2000, refreshStatus);
const historyPoll = new Poll(5000, refreshHistory);
batches.poll = new Poll(1000, (isCurrent) => batches.refresh(isCurrent));
deadLetters.poll = new Poll(3000, (isCurrent) => deadLetters.refresh(isCurrent));
batch.poll = new Poll(1000, (isCurrent) => batch.refresh(isCurrent));

// Returns level, badge and notice for the worst problem.
function health() {
  const silentSeconds = (performance.now() - answeredAt) / 1000;
  const unauthenticated = [...errors.values()].find((error) => error.code === "unauthenticated");
  if (unauthenticated) return ["down", "access denied", `The worker denies access: ${unauthenticated.message}.`];
  if (silentSeconds > STALE_AFTER_SECONDS || (errors.has("status") && status === null)) {
    return ["down", "no answer", `The worker has not answered for ${duration(Math.round(silentSeconds))}: the data below is out of date.`];
  }
  if (status === null) return ["", "loading …", ""];
  const reasons = status.not_ready;
  const database = reasons.find((reason) => reason.code === "database_unreachable") ?? [...errors.values()].find((error) => error.code === "database_unreachable");
  if (database) {
    const cause = (database.detail ?? database.message).replace(/^the database does not answer: /, "");
    const age = status.stats ? `; the totals are ${duration(Math.round(status.stats.age_seconds))} old` : "";
    return ["down", "database down", `The database does not answer (${cause})${age}. Events wait in Kafka; none is lost.`];
  }
  const other = [...errors.values()][0];
  if (other) return ["warn", "error", `Not all data could be read: ${other.message}.`];
  if (reasons.length) return ["warn", "not ready", `Not ready: ${reasons.map((reason) => `${spaced(reason.code)} (${reason.detail})`).join("; ")}.`];
  return ["ok", "ready", ""];
}

function showHealth() {
  const [level, badge, notice] = health();
  document.body.dataset.health = level;
  setText(byId("health-text"), badge);
  setText(byId("notice"), notice);
  byId("notice").hidden = notice === "";
}

function route() {
  const path = location.hash.match(/^#\/batch\/(.+)$/);
  const batchId = path ? decoded(path[1]) : null;
  byId("overview").hidden = batchId !== null;
  byId("batch").hidden = batchId === null;
  errors.delete("batch");
  document.title = batchId === null ? "els_stream" : `${batchId} – els_stream`;
  if (batchId === null) {
    batch.poll.stop();
    for (const poll of [batches.poll, deadLetters.poll, historyPoll]) poll.start();
    return;
  }
  for (const poll of [batches.poll, deadLetters.poll, historyPoll]) poll.stop();
  for (const source of ["batches", "dead letters"]) errors.delete(source);
  batch.poll.running = true;
  batch.open(batchId);
  byId("main").focus({ preventScroll: true });
  scrollTo(0, 0);
}

function decoded(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

// The address names the view, so the skip link must not change it.
document.querySelector(".skip").addEventListener("click", (event) => {
  event.preventDefault();
  byId("main").focus();
});
addEventListener("hashchange", route);
setInterval(showHealth, 1000);
statusPoll.start();
route();
