// One batch: its state, what it waits for, and its timeline.

import { STATES, makeBar, updateBar } from "./batches.js";
import { ago, byId, clock, count, day, dayAndTime, el, plural, spaced } from "./dom.js";
import { get } from "./server.js";

// What a batch waits for, and who has to act.
const WAITS_FOR = {
  registration: (batch) => `The batch waits for its registration, which the orchestrator sends. ${plural(pendingEvents(batch), "event")} came before it and will be applied then.`,
  content: (batch) => `The batch waits for content: ${count(batch.free)} of ${plural(batch.expected, "slot")} ${batch.free === 1 ? "is" : "are"} free. Each file that the file service announces takes one, also a file that failed validation.${deadline(batch)}`,
  associations: () => "The content is complete; the batch waits for the confirmation of its students by class management.",
  relay: (batch) => `The batch is done, but ${plural(batch.waiting_count, "event")} of it ${batch.waiting_count === 1 ? "is" : "are"} not published yet${deferral(batch.waiting)}.`,
  nothing: () => "The batch is done, and all of its events are published.",
};

const pendingEvents = (batch) => batch.pending.reduce((total, { events }) => total + events, 0);

function deadline(batch) {
  if (!batch.deadline_at) return "";
  return Date.parse(batch.deadline_at) < Date.parse(batch.at) ? ` Its deadline passed on ${dayAndTime(batch.deadline_at)}.` : ` Its deadline is ${dayAndTime(batch.deadline_at)}.`;
}

const EVENTS = {
  "huleedu.els.essay.slot.assigned.v1": "slot assigned",
  "huleedu.batch.content.provisioning.completed.v1": "content completed",
  "huleedu.els.batch.essays.ready.v1": "batch ready",
  "huleedu.els.excess.content.provisioned.v1": "excess content",
  "huleedu.els.batch.validation.errors.v1": "validation errors",
  "huleedu.els.batch.readiness.timeout.v1": "readiness timeout",
};

const DELIVERY = { published: "✓ published:", waiting: "not published yet:", deferred: "could not be published:" };

const MOMENTS = {
  pending: (m) => `First of ${plural(Number(m.detail), "event")} that waits for the registration: ${spaced(m.subject)}`,
  registered: () => "Registered",
  filled: (m) => `Slot ${m.subject} filled`,
  failed: (m) => `Slot ${m.subject} used by a file that failed validation${m.detail ? `: ${spaced(m.detail.toLowerCase())}` : ""}`,
  excess: (m) => `No free slot for ${m.subject}`,
  dead_letter: (m) => `Dead letter ${m.detail}: ${spaced(m.subject)}`,
  timed_out: () => "Deadline passed",
  content_complete: () => "Content complete",
  associations_confirmed: () => "Students confirmed",
  completed: () => "Completed",
  purged: () => "Purged: the rows of essays and files were deleted",
};

export class Batch {
  constructor(report) {
    this.report = report;
    this.node = byId("batch");
    this.batchId = null;
  }

  open(batchId) {
    this.batchId = batchId;
    this.shown = null;
    this.node.replaceChildren(backLink(), el("h1", {}, batchId), el("p", { class: "empty" }, "loading …"));
    this.poll.now();
  }

  async refresh(isCurrent) {
    const batchId = this.batchId;
    try {
      const batch = await get(`/api/batches/${encodeURIComponent(batchId)}`);
      this.report("batch", null);
      if (isCurrent() && batchId === this.batchId) this.show(batch);
    } catch (error) {
      if (error.code === "not_found" && isCurrent()) this.showNotFound();
      else this.report("batch", error);
    }
  }

  showNotFound() {
    this.shown = null;
    this.node.replaceChildren(backLink(), el("h1", {}, this.batchId), el("p", { class: "empty" }, "No event of this batch was ever received."));
  }

  // Draws again only if something changed, so that a text selection stays.
  show(batch) {
    const { at, read_at, ...data } = batch;
    const json = JSON.stringify(data);
    if (json === this.shown) return;
    this.shown = json;
    const bar = makeBar();
    updateBar(bar, batch);
    const nodes = [
      backLink(),
      el("h1", {}, batch.batch_id),
      shareLink(),
      el("p", { class: "lead" }, el("span", { class: "badge", "data-state": batch.stuck ? "overdue" : batch.state }, STATES[batch.state]), ` ${WAITS_FOR[batch.waits_for](batch)}`, batch.stuck ? el("strong", {}, " It needs attention.") : null),
      bar,
      facts(batch),
      el("h2", {}, "Timeline"),
      batch.timeline_omitted ? el("p", { class: "empty" }, `${plural(batch.timeline_omitted, "older entry", "older entries")} not shown.`) : null,
      timeline(batch.timeline),
    ];
    this.node.replaceChildren(...nodes.filter((node) => node !== null));
  }
}

const backLink = () => el("p", {}, el("a", { href: "#/", class: "back" }, "← All batches"));

// Copies the address of this batch; where the browser forbids that, it shows the address, selected.
function shareLink() {
  const button = el("button", { type: "button" }, "Copy link");
  const address = el("input", { type: "text", readonly: true, hidden: true, "aria-label": "Address of this batch" });
  const result = el("span", { class: "small", role: "status" });
  button.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(location.href);
      result.textContent = "Copied.";
    } catch {
      address.value = location.href;
      address.hidden = false;
      address.select();
    }
  });
  return el("p", { class: "share" }, button, address, result);
}

function facts(batch) {
  const pairs = [
    ["class", batch.class_type ?? "unknown"],
    ["slots", batch.expected === null ? "not known yet" : `${count(batch.expected)}: ${count(batch.filled)} filled, ${count(batch.failed)} failed, ${count(batch.free)} free`],
    ["excess", plural(batch.excess, "text")],
    ["first seen", ago(batch.created_at, batch.at)],
    ["deadline", batch.deadline_at ? dayAndTime(batch.deadline_at) : "–"],
    ["outbox", batch.waiting_count ? `${plural(batch.waiting_count, "event")} not published yet${deferral(batch.waiting)}` : "all events are published"],
  ];
  if (batch.conflicts) pairs.push(["rejected", plural(batch.conflicts, "registration that contradicts the first", "registrations that contradict the first")]);
  return el("dl", { class: "facts wide" }, ...pairs.flatMap(([name, value]) => [el("dt", {}, name), el("dd", {}, value)]));
}

function deferral(waiting) {
  const deferred = waiting.find((event) => event.next_attempt_at !== null);
  return deferred ? `; last error: ${deferred.last_error}` : "";
}

function timeline(moments) {
  const list = el("ol", { class: "timeline" });
  let currentDay = null;
  for (const moment of moments) {
    if (day(moment.at) !== currentDay) {
      currentDay = day(moment.at);
      list.append(el("li", { class: "day" }, currentDay));
    }
    list.append(entry(moment));
  }
  return list;
}

function entry(moment) {
  const events = moment.events.map((event) => el("span", { class: "event", "data-delivery": event.delivery, title: event.topic }, `${DELIVERY[event.delivery]} ${EVENTS[event.topic]}`));
  return el(
    "li",
    { "data-kind": moment.kind },
    el("time", { datetime: moment.at }, clock(moment.at)),
    el("div", {}, el("span", {}, MOMENTS[moment.kind](moment)), moment.file_name === null ? null : el("q", { class: "file" }, moment.file_name), ...events),
  );
}
