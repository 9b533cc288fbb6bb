// Totals, the charts of the last hour, and the state of relay, offsets, purge and worker.

import { Chart } from "./chart.js";
import { ago, byId, count, duration, el, plural, setText, shortTopic, updateRows } from "./dom.js";

const sum = (counts) => Object.values(counts).reduce((total, number) => total + number, 0);
const byClass = (counts) => Object.entries(counts).map(([name, number]) => `${name} ${count(number)}`).join(" · ");

// Title, function that returns number and note, and function that returns the level ("warn", "bad" or "").
const TILES = [
  ["Active batches", (stats) => [count(sum(stats.active)), byClass(stats.active)]],
  ["Completed", (stats) => [count(sum(stats.completed)), byClass(stats.completed)]],
  ["Pending events", (stats) => [count(sum(stats.pending)), sum(stats.pending) ? `oldest ${duration(stats.pending_oldest_seconds)}` : "none waits"]],
  ["Outbox", (stats) => [count(stats.outbox_rows), outboxNote(stats)], (stats) => (stats.outbox_deferred || stats.outbox_oldest_seconds > 60 ? "bad" : "")],
  ["Records to process", (_, status) => [count(status.lag.reduce((total, partition) => total + partition.records, 0)), `in ${plural(status.lag.length, "partition")} here`]],
  ["Dead letters", (stats) => [count(sum(stats.dead_letters)), sum(stats.dead_letters) ? "open" : "none is open"], (stats) => (sum(stats.dead_letters) ? "warn" : "")],
];

function outboxNote(stats) {
  if (stats.outbox_deferred) return `${count(stats.outbox_deferred)} could not be published`;
  return stats.outbox_rows ? `oldest ${duration(stats.outbox_oldest_seconds)}` : "all published";
}

export class Overview {
  constructor() {
    this.tiles = TILES.map(([title]) => {
      const tile = { number: el("strong", {}, "–"), note: el("small", {}, "") };
      tile.node = el("div", { class: "tile" }, el("h2", {}, title), tile.number, tile.note);
      return tile;
    });
    byId("tiles").append(...this.tiles.map((tile) => tile.node));
    this.input = new Chart("Records processed", (value) => `${value > 0 && value < 10 ? value.toFixed(1) : count(Math.round(value))}/s`);
    this.completion = new Chart("Last content to completion", duration);
    this.outbox = new Chart("Oldest event in the outbox", duration);
    byId("charts").append(this.input.node, this.completion.node, this.outbox.node);
  }

  showStatus(status) {
    if (status.stats) {
      TILES.forEach(([, read, level], index) => {
        const [number, note] = read(status.stats, status);
        setText(this.tiles[index].number, number);
        setText(this.tiles[index].note, note);
        this.tiles[index].node.dataset.level = level ? level(status.stats) : "";
      });
    }
    const unknown = status.unknown_validation_codes ?? []; // none from an older worker
    byId("unknown-codes").hidden = unknown.length === 0;
    updateRows(byId("unknown-codes-list"), unknown, ({ code }) => code, () => el("li", {}), (row, code) => setText(row, describeCode(code, status.at)));
    byId("components").replaceChildren(...components(status));
  }

  showHistory(history) {
    this.input.draw(history.records_per_second, history.interval_seconds);
    this.completion.draw(history.completion_seconds, history.interval_seconds);
    this.outbox.draw(history.outbox_oldest_seconds, history.interval_seconds);
  }
}

const describeCode = ({ code, count: files, last_hour: lastHour, last_at: lastAt }, now) => `${code}: ${plural(files, "file")}, ${count(lastHour)} in the last hour; the newest ${ago(lastAt, now)}`;

const facts = (...pairs) => el("dl", { class: "facts" }, ...pairs.flatMap(([name, value]) => [el("dt", {}, name), el("dd", {}, value)]));

function components(status) {
  return [
    el("h2", {}, "Relay"), relay(status.relay),
    el("h2", {}, "Input"), offsets(status),
    el("h2", {}, "Purge"), purge(status),
    el("h2", {}, "Worker"),
    facts(
      ["process", `${status.worker.host}, ${status.worker.pid}`],
      ["version", status.worker.version],
      ["started", ago(status.worker.started_at, status.at)],
      ["partitions", count(status.worker.partitions)],
      ["in the group", members(status.workers)],
    ),
  ];
}

// As the broker names them: the page of another worker is at its own address.
function members(workers) {
  if (!workers.length) return "not known yet";
  return `${plural(workers.length, "worker")}: ${workers.map(({ host, partitions }) => `${host} with ${plural(partitions, "partition")}`).join(", ")}`;
}

function relay(state) {
  if (state === null) return el("p", { class: "empty" }, "This worker publishes nothing: ELS_RELAY_ENABLED is false.");
  const errors = Object.entries(state.errors).map(([component, error]) => `${component}: ${error}`);
  return facts(
    ["owns", `${plural(state.shards, "shard")} of the outbox; ${plural(Math.max(1, state.members), "relay")} in all`],
    ["published", `${count(state.acked)} since its start, ${count(state.in_flight)} in flight`],
    ["rejected", count(state.rejected)],
    ["errors", errors.length ? errors.join("; ") : "none"],
  );
}

function offsets(status) {
  if (!status.offsets?.length) return el("p", { class: "empty" }, "No record was processed yet.");
  const topics = new Map();
  for (const stored of status.offsets) {
    const topic = topics.get(stored.topic) ?? { processed: 0, changedAt: stored.updated_at };
    topic.processed += stored.next_offset;
    if (stored.updated_at > topic.changedAt) topic.changedAt = stored.updated_at;
    topics.set(stored.topic, topic);
  }
  const head = el("tr", {}, el("th", { scope: "col" }, "topic"), el("th", { scope: "col", class: "number" }, "processed"), el("th", { scope: "col", class: "number" }, "last"));
  const rows = [...topics].map(([name, topic]) => el("tr", {}, el("td", { title: name }, shortTopic(name)), el("td", { class: "number" }, count(topic.processed)), el("td", { class: "number" }, topic.processed ? ago(topic.changedAt, status.at) : "–")));
  return el("table", {}, el("thead", {}, head), el("tbody", {}, ...rows));
}

function purge(status) {
  const { enabled, guest_days: days, interval_hours: hours } = status.retention;
  const keeps = enabled ? `GUEST batches for ${plural(days, "day")}; runs every ${duration(hours * 3600)}` : "all batches: ELS_PURGE_ENABLED is false in this worker";
  const purged = status.stats ? `${byClass(status.stats.purged)} batches in all` : "–";
  const last = status.purges?.[0];
  return facts(["keeps", keeps], ["removed", purged], ["last run", last ? describeRun(last, status) : "none yet"]);
}

function describeRun(last, status) {
  const age = last.older_than_days === null ? "" : ` over ${plural(last.older_than_days, "day")} old`;
  const run = `${last.action.replaceAll("_", " ")}, ${plural(last.batches, "batch", "batches")}${age}`;
  if (last.finished_at !== null) return `${run}; finished ${ago(last.finished_at, status.at)}`;
  if (status.stats?.purge.running) return `${run} so far; started ${ago(last.started_at, status.at)}, still running`;
  return `${run}; started ${ago(last.started_at, status.at)} and stopped early, the next run continues`;
}
