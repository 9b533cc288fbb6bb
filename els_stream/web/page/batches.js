// The list of batches: each a bar of filled, failed and free slots, that grows while one looks.

import { ago, byId, count, el, keepRows, many, setText } from "./dom.js";
import { get } from "./server.js";

export const STATES = {
  unregistered: "not registered",
  open: "filling",
  content_complete: "waits for students",
  completed: "done",
  purged: "purged",
};

export const linkTo = (batchId) => `#/batch/${encodeURIComponent(batchId)}`;

export function makeBar() {
  const bar = el("div", { class: "bar", role: "img" });
  for (const part of ["filled", "failed", "free"]) bar.append(el("span", { class: part }));
  return bar;
}

export function fillBar(bar, batch) {
  const parts = [batch.filled, batch.failed, batch.free];
  parts.forEach((slots, index) => (bar.children[index].style.flexGrow = slots));
  const label = `${count(batch.filled)} filled, ${count(batch.failed)} failed, ${count(batch.free)} free`;
  if (bar.getAttribute("aria-label") !== label) bar.setAttribute("aria-label", label);
}

export class Batches {
  constructor(report) {
    this.report = report;
    this.list = byId("batches");
    this.filters = byId("batch-filters");
    this.cursor = null;
    this.next = null;
    this.filters.addEventListener("submit", (event) => event.preventDefault());
    this.filters.addEventListener("change", () => this.turnTo(null));
    byId("batches-newest").addEventListener("click", () => this.turnTo(null));
    byId("batches-older").addEventListener("click", () => this.turnTo(this.next));
  }

  turnTo(cursor) {
    this.cursor = cursor;
    this.poll.now();
  }

  get path() {
    const form = new FormData(this.filters);
    const query = new URLSearchParams(form.get("age"));
    for (const name of ["state", "class_type"]) if (form.get(name)) query.set(name, form.get(name));
    if (this.cursor) query.set("cursor", this.cursor);
    query.set("limit", "30");
    return `/api/batches?${query}`;
  }

  async look(wanted) {
    try {
      const page = await get(this.path);
      this.report("batches", null);
      if (wanted()) this.show(page);
    } catch (trouble) {
      this.report("batches", trouble);
      if (!this.list.childElementCount) this.tellEmpty("They can't be read just now.");
    }
  }

  show(page) {
    keepRows(this.list, page.batches, (batch) => batch.batch_id, makeRow, (row, batch) => updateRow(row, batch, page.at));
    this.next = page.next;
    byId("batches-older").hidden = page.next === null;
    byId("batches-newest").hidden = this.cursor === null;
    const filtered = this.cursor !== null || [...new FormData(this.filters).values()].some(Boolean);
    this.tellEmpty(filtered ? "No batch is like that." : "No batch yet. A registration, or the first content of one, makes a line here.");
  }

  tellEmpty(words) {
    const empty = byId("batches-empty");
    setText(empty, words);
    empty.hidden = this.list.childElementCount > 0;
  }
}

function makeRow(batch) {
  const link = el("a", { href: linkTo(batch.batch_id), title: batch.batch_id }, batch.batch_id);
  const parts = { state: el("span", { class: "badge" }), bar: makeBar(), slots: el("span", { class: "slots" }), age: el("span", { class: "age" }) };
  const row = el("li", {}, el("div", { class: "who" }, link, parts.state), parts.bar, el("div", { class: "what" }, parts.slots, parts.age));
  row.parts = parts;
  return row;
}

function updateRow(row, batch, now) {
  const { state, bar, slots, age } = row.parts;
  const overdue = batch.state === "open" && batch.timed_out_at !== null;
  setText(state, overdue ? "overdue" : STATES[batch.state]);
  state.dataset.state = overdue ? "overdue" : batch.state;
  fillBar(bar, batch);
  setText(slots, told(batch));
  setText(age, `${batch.class_type ?? "class unknown"} · ${ago(batch.created_at, now)}`);
}

function told(batch) {
  if (batch.expected === null) return `${count(batch.parked)} parked`;
  const failed = batch.failed ? `, ${count(batch.failed)} failed` : "";
  const conflicts = batch.conflicts ? `, ${many(batch.conflicts, "refused registration")}` : "";
  return `${count(batch.filled)} of ${count(batch.expected)}${failed}${conflicts}`;
}
