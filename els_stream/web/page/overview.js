// Totals, the charts of the last hour, and the workings: relay, ledger, purge, worker.

import { Chart } from "./chart.js";
import { ago, byId, count, duration, el, many, setText, shortTopic } from "./dom.js";

const sum = (counts) => Object.values(counts).reduce((total, number) => total + number, 0);
const byClass = (counts) => Object.entries(counts).map(([name, number]) => `${name} ${count(number)}`).join(" · ");

const TILES = [
  ["Active batches", (f) => [count(sum(f.active)), byClass(f.active)]],
  ["Completed", (f) => [count(sum(f.completed)), byClass(f.completed)]],
  ["Parked events", (f) => [count(sum(f.parked)), sum(f.parked) ? `oldest ${duration(f.parked_oldest_seconds)}` : "nothing waits for its batch"]],
  ["Outbox", (f) => [count(f.outbox_rows), outbox(f)], (f) => (f.outbox_held || f.outbox_oldest_seconds > 60 ? "bad" : "")],
  ["Records to handle", (_, s) => [count(s.lag.reduce((n, part) => n + part.records, 0)), `in ${many(s.lag.length, "partition")} here`]],
  ["Dead letters", (f) => [count(sum(f.dead_letters)), sum(f.dead_letters) ? "open" : "none is open"], (f) => (sum(f.dead_letters) ? "warn" : "")],
];

function outbox(figures) {
  if (figures.outbox_held) return `${count(figures.outbox_held)} can't be sent`;
  return figures.outbox_rows ? `oldest ${duration(figures.outbox_oldest_seconds)}` : "everything is sent";
}

export class Overview {
  constructor() {
    this.tiles = TILES.map(([title]) => {
      const tile = { number: el("strong", {}, "–"), note: el("small", {}, "") };
      tile.node = el("div", { class: "tile" }, el("h2", {}, title), tile.number, tile.note);
      return tile;
    });
    byId("tiles").append(...this.tiles.map((tile) => tile.node));
    this.intake = new Chart("Intake", (value) => `${value > 0 && value < 10 ? value.toFixed(1) : count(Math.round(value))}/s`);
    this.completion = new Chart("Last content to completion", duration);
    this.outbox = new Chart("Age of the outbox", duration);
    byId("charts").append(this.intake.node, this.completion.node, this.outbox.node);
  }

  showStatus(status) {
    if (status.figures) {
      TILES.forEach(([, tell, mood], index) => {
        const [number, note] = tell(status.figures, status);
        setText(this.tiles[index].number, number);
        setText(this.tiles[index].note, note);
        this.tiles[index].node.dataset.mood = mood ? mood(status.figures) : "";
      });
    }
    byId("workings").replaceChildren(...workings(status));
  }

  showHistory(history) {
    this.intake.draw(history.intake_per_second, history.step_seconds);
    this.completion.draw(history.completion_seconds, history.step_seconds);
    this.outbox.draw(history.outbox_oldest_seconds, history.step_seconds);
  }
}

const facts = (...pairs) => el("dl", { class: "facts" }, ...pairs.flatMap(([name, value]) => [el("dt", {}, name), el("dd", {}, value)]));

function workings(status) {
  return [
    el("h2", {}, "Relay"), relay(status.relay),
    el("h2", {}, "Ledger"), ledger(status),
    el("h2", {}, "Purge"), purge(status),
    el("h2", {}, "Worker"),
    facts(
      ["answers", `${status.worker.host}, process ${status.worker.pid}`],
      ["version", status.worker.version],
      ["since", ago(status.worker.started_at, status.at)],
      ["partitions", count(status.worker.partitions)],
    ),
  ];
}

function relay(now) {
  if (now === null) return el("p", { class: "empty" }, "This worker sends nothing: ELS_RELAY_ENABLED is off.");
  const troubles = Object.entries(now.troubles).map(([part, why]) => `${part}: ${why}`);
  return facts(
    ["owns", `${many(now.shards, "shard")} of the outbox, one of ${many(Math.max(1, now.relays), "relay")}`],
    ["acknowledged", `${count(now.acked)} since its start, ${count(now.in_flight)} in flight`],
    ["refused", count(now.refused)],
    ["troubles", troubles.length ? troubles.join("; ") : "none"],
  );
}

function ledger(status) {
  if (!status.ledger?.length) return el("p", { class: "empty" }, "Nothing was handled yet.");
  const topics = new Map();
  for (const place of status.ledger) {
    const topic = topics.get(place.topic) ?? { handled: 0, moved: place.updated_at };
    topic.handled += place.next_offset;
    if (place.updated_at > topic.moved) topic.moved = place.updated_at;
    topics.set(place.topic, topic);
  }
  const head = el("tr", {}, el("th", { scope: "col" }, "topic"), el("th", { scope: "col", class: "number" }, "handled"), el("th", { scope: "col", class: "number" }, "moved"));
  const rows = [...topics].map(([name, topic]) => el("tr", {}, el("td", { title: name }, shortTopic(name)), el("td", { class: "number" }, count(topic.handled)), el("td", { class: "number" }, ago(topic.moved, status.at))));
  return el("table", {}, el("thead", {}, head), el("tbody", {}, ...rows));
}

function purge(status) {
  const { enabled, guest_days: days, interval_hours: hours } = status.retention;
  const keeps = enabled ? `GUEST batches for ${many(days, "day")}; due every ${duration(hours * 3600)}` : "everything: ELS_PURGE_ENABLED is off in this worker";
  const purged = status.figures ? `${byClass(status.figures.purged)} batches, ever` : "–";
  const last = status.purges?.[0];
  return facts(["keeps", keeps], ["removed", purged], ["last run", last ? run(last, status) : "none yet"]);
}

function run(last, status) {
  const age = last.older_than_days === null ? "" : ` over ${many(last.older_than_days, "day")}`;
  const what = `${last.action.replaceAll("_", " ")}, ${many(last.batches, "batch", "batches")}${age}`;
  if (last.finished_at !== null) return `${what}; ended ${ago(last.finished_at, status.at)}`;
  if (status.figures?.purge.running) return `${what} so far; began ${ago(last.started_at, status.at)}, and runs`;
  return `${what}; began ${ago(last.started_at, status.at)} and was stopped, the next run goes on`;
}
