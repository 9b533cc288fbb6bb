// What is asked how often, which view is open, and what is said when the answers are old or bad.

import { Batches } from "./batches.js";
import { byId, duration, setText, spaced } from "./dom.js";
import { Letters } from "./letters.js";
import { Overview } from "./overview.js";
import { Poll, get } from "./server.js";
import { Story } from "./story.js";

const OLD_AFTER = 5;

const troubles = new Map();
let status = null;
let answeredAt = performance.now();

function report(part, trouble) {
  if (trouble) troubles.set(part, trouble);
  else troubles.delete(part);
  tell();
}

const overview = new Overview();
const batches = new Batches(report);
const letters = new Letters(report);
const story = new Story(report);

async function lookAtStatus() {
  try {
    status = await get("/api/status");
    answeredAt = performance.now();
    overview.showStatus(status);
    if (status.figures) letters.offerReasons(status.figures.dead_letters);
    setText(byId("worker"), `answered by ${status.worker.host}, process ${status.worker.pid}`);
    report("status", null);
  } catch (trouble) {
    report("status", trouble);
  }
}

async function lookAtHistory(wanted) {
  try {
    const history = await get("/api/history");
    if (wanted()) overview.showHistory(history);
  } catch {
    // The status says it, with more words.
  }
}

const statusPoll = new Poll(2000, lookAtStatus);
const historyPoll = new Poll(5000, lookAtHistory);
batches.poll = new Poll(1000, (wanted) => batches.look(wanted));
letters.poll = new Poll(3000, (wanted) => letters.look(wanted));
story.poll = new Poll(1000, (wanted) => story.look(wanted));

// The worst first; one line, in words.
function judged() {
  const silent = (performance.now() - answeredAt) / 1000;
  const refused = [...troubles.values()].find((trouble) => trouble.code === "unauthenticated");
  if (refused) return ["down", "refused", `The worker refuses to answer: ${refused.message}.`];
  if (silent > OLD_AFTER || (troubles.has("status") && status === null)) {
    return ["down", "no answer", `The worker has not answered for ${duration(Math.round(silent))}: what you see is out of date.`];
  }
  if (status === null) return ["", "asking …", ""];
  const reasons = status.not_ready;
  const database = reasons.find((reason) => reason.code === "database_unreachable") ?? [...troubles.values()].find((trouble) => trouble.code === "database_unreachable");
  if (database) {
    const age = status.figures ? `; totals are ${duration(Math.round(status.figures.age_seconds))} old, lists may be` : "";
    return ["down", "database down", `The database does not answer (${(database.detail ?? database.message).replace(/^the database does not answer: /, "")})${age}. Events wait in Kafka, and nothing is lost.`];
  }
  const other = [...troubles.values()][0];
  if (other) return ["warn", "trouble", `Not everything could be read: ${other.message}.`];
  if (reasons.length) return ["warn", "not ready", `Not ready: ${reasons.map((reason) => `${spaced(reason.code)} (${reason.detail})`).join("; ")}.`];
  return ["fine", "ready", ""];
}

function tell() {
  const [mood, word, words] = judged();
  document.body.dataset.mood = mood;
  setText(byId("verdict-text"), word);
  setText(byId("notice"), words);
  byId("notice").hidden = words === "";
}

function route() {
  const path = location.hash.match(/^#\/batch\/(.+)$/);
  const batchId = path ? decoded(path[1]) : null;
  byId("overview").hidden = batchId !== null;
  byId("story").hidden = batchId === null;
  troubles.delete("story");
  document.title = batchId === null ? "els_stream" : `${batchId} – els_stream`;
  if (batchId === null) {
    story.poll.stop();
    for (const poll of [batches.poll, letters.poll, historyPoll]) poll.start();
    return;
  }
  for (const poll of [batches.poll, letters.poll, historyPoll]) poll.stop();
  for (const part of ["batches", "letters"]) troubles.delete(part);
  story.poll.running = true;
  story.open(batchId);
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

// Its address is the view's, so the jump is made by hand.
document.querySelector(".skip").addEventListener("click", (event) => {
  event.preventDefault();
  byId("main").focus();
});
addEventListener("hashchange", route);
setInterval(tell, 1000);
statusPoll.start();
route();
