// One batch: where it is, what it waits for, and what happened, in order.

import { STATES, fillBar, makeBar } from "./batches.js";
import { ago, byId, clock, count, day, el, many, moment, spaced } from "./dom.js";
import { get } from "./server.js";

const WAITS = {
  registration: "It waits for its registration.",
  content: "It waits for content.",
  associations: "Its content is complete; it waits for its students to be confirmed.",
  relay: "It is done; events about it wait to be sent.",
  nothing: "It is done, and everything about it was told.",
};

const EVENTS = {
  "huleedu.els.essay.slot.assigned.v1": "slot assigned",
  "huleedu.batch.content.provisioning.completed.v1": "content completed",
  "huleedu.els.batch.essays.ready.v1": "batch ready",
  "huleedu.els.excess.content.provisioned.v1": "excess content",
  "huleedu.els.batch.validation.errors.v1": "validation errors",
  "huleedu.els.batch.readiness.timeout.v1": "readiness timeout",
};

const DELIVERY = { sent: "✓ sent:", waiting: "not sent yet:", deferred: "can't be sent:" };

const WORDS = {
  pending: (m) => `${many(Number(m.detail), "event")} pending since then: ${spaced(m.subject)}`,
  registered: () => "Registered",
  filled: (m) => `Slot ${m.subject} filled`,
  failed: (m) => `Slot ${m.subject} taken by a file that failed${m.detail ? `: ${spaced(m.detail.toLowerCase())}` : ""}`,
  excess: (m) => `No slot was free for ${m.subject}`,
  dead_letter: (m) => `Dead letter ${m.detail}: ${spaced(m.subject)}`,
  timed_out: () => "The deadline passed",
  content_complete: () => "Content complete",
  associations_confirmed: () => "Students confirmed",
  completed: () => "Completed",
  purged: () => "Purged: rows of essays and files are gone",
};

export class Story {
  constructor(report) {
    this.report = report;
    this.node = byId("story");
    this.batchId = null;
  }

  open(batchId) {
    this.batchId = batchId;
    this.shown = null;
    this.node.replaceChildren(backLink(), el("h1", {}, batchId), el("p", { class: "empty" }, "asking …"));
    this.poll.now();
  }

  async look(wanted) {
    const batchId = this.batchId;
    try {
      const story = await get(`/api/batches/${encodeURIComponent(batchId)}`);
      this.report("story", null);
      if (wanted() && batchId === this.batchId) this.show(story);
    } catch (trouble) {
      if (trouble.code === "not_found" && wanted()) this.showNothing();
      else this.report("story", trouble);
    }
  }

  showNothing() {
    this.shown = null;
    this.node.replaceChildren(backLink(), el("h1", {}, this.batchId), el("p", { class: "empty" }, "Nothing ever came for this batch."));
  }

  // Redrawn only when something happened: a reader may be in the middle of a line.
  show(story) {
    const { at, asked_at, ...facts } = story;
    const now = JSON.stringify(facts);
    if (now === this.shown) return;
    this.shown = now;
    const bar = makeBar();
    fillBar(bar, story);
    const nodes = [
      backLink(),
      el("h1", {}, story.batch_id),
      el("p", { class: "lead" }, el("span", { class: "badge", "data-state": story.stuck ? "overdue" : story.state }, STATES[story.state]), ` ${WAITS[story.waits_for]}`, story.stuck ? el("strong", {}, " Someone should look.") : null),
      bar,
      known(story),
      el("h2", {}, "What happened"),
      story.timeline_omitted ? el("p", { class: "empty" }, `${many(story.timeline_omitted, "older moment")} of slots left out.`) : null,
      timeline(story.timeline),
    ];
    this.node.replaceChildren(...nodes.filter((node) => node !== null));
  }
}

const backLink = () => el("p", {}, el("a", { href: "#/", class: "back" }, "← All batches"));

function known(story) {
  const pairs = [
    ["class", story.class_type ?? "unknown"],
    ["slots", story.expected === null ? "not known yet" : `${count(story.expected)}: ${count(story.filled)} filled, ${count(story.failed)} failed, ${count(story.free)} free`],
    ["excess", many(story.excess, "text")],
    ["first heard of", `${ago(story.created_at, story.at)}`],
    ["deadline", story.deadline_at ? moment(story.deadline_at) : "–"],
    ["outbox", story.waiting_count ? `${many(story.waiting_count, "event")} not sent yet${held(story.waiting)}` : "everything is sent"],
  ];
  if (story.conflicts) pairs.push(["refused", many(story.conflicts, "registration that contradicts the first", "registrations that contradict the first")]);
  return el("dl", { class: "facts wide" }, ...pairs.flatMap(([name, value]) => [el("dt", {}, name), el("dd", {}, value)]));
}

function held(waiting) {
  const first = waiting.find((event) => event.next_attempt_at !== null);
  return first ? `; held: ${first.last_error}` : "";
}

function timeline(moments) {
  const list = el("ol", { class: "timeline" });
  let today = null;
  for (const happened of moments) {
    if (day(happened.at) !== today) {
      today = day(happened.at);
      list.append(el("li", { class: "day" }, today));
    }
    list.append(line(happened));
  }
  return list;
}

function line(happened) {
  const events = happened.events.map((event) => el("span", { class: "event", "data-delivery": event.delivery, title: event.topic }, `${DELIVERY[event.delivery]} ${EVENTS[event.topic]}`));
  return el(
    "li",
    { "data-what": happened.what },
    el("time", { datetime: happened.at }, clock(happened.at)),
    el("div", {}, el("span", {}, WORDS[happened.what](happened)), happened.file_name === null ? null : el("q", { class: "file" }, happened.file_name), ...events),
  );
}
