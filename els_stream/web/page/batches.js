// The list of batches. Each has a bar of filled, failed and free slots, which is updated in place.

import { ago, byId, count, el, plural, setText, updateRows } from "./dom.js";
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
  for (const kind of ["filled", "failed", "free"]) bar.append(el("span", { class: kind }));
  return bar;
}

export function updateBar(bar, batch) {
  const counts = [batch.filled, batch.failed, batch.free];
  counts.forEach((slots, index) => (bar.children[index].style.flexGrow = slots));
  const label = `${count(batch.filled)} filled, ${count(batch.failed)} failed, ${count(batch.free)} free`;
  if (bar.getAttribute("aria-label") !== label) bar.setAttribute("aria-label", label);
}

export class Batches {
  constructor(report) {
    this.report = report;
    this.list = byId("batches");
    this.filters = byId("batch-filters");
    this.search = byId("batch-search");
    this.cursor = null;
    this.next = null;
    this.filters.addEventListener("submit", (event) => event.preventDefault());
    this.filters.addEventListener("change", () => this.openPage(null));
    this.search.addEventListener("input", () => this.openPage(null));
    this.search.addEventListener("submit", (event) => {
      event.preventDefault();
      this.openFound();
    });
    byId("batches-newest").addEventListener("click", () => this.openPage(null));
    byId("batches-older").addEventListener("click", () => this.openPage(this.next));
  }

  openPage(cursor) {
    this.cursor = cursor;
    this.poll.now();
  }

  get prefix() {
    return this.search.elements.prefix.value.trim();
  }

  // Enter opens the batch of this id, or the only one whose id begins so.
  async openFound() {
    if (!this.prefix) return;
    await this.poll.now();
    const ids = [...this.list.querySelectorAll("a")].map((link) => link.textContent);
    const found = ids.includes(this.prefix) ? this.prefix : ids.length === 1 ? ids[0] : null;
    if (found !== null) location.hash = linkTo(found);
  }

  get path() {
    if (this.prefix) return `/api/batches?${new URLSearchParams({ prefix: this.prefix, limit: "30" })}`;
    const form = new FormData(this.filters);
    const query = new URLSearchParams(form.get("age"));
    for (const name of ["state", "class_type"]) if (form.get(name)) query.set(name, form.get(name));
    if (this.cursor) query.set("cursor", this.cursor);
    query.set("limit", "30");
    return `/api/batches?${query}`;
  }

  async refresh(isCurrent) {
    try {
      const page = await get(this.path);
      this.report("batches", null);
      if (isCurrent()) this.show(page);
    } catch (error) {
      this.report("batches", error);
      if (!this.list.childElementCount) this.showEmpty("The batches can't be read now.");
    }
  }

  show(page) {
    updateRows(this.list, page.batches, (batch) => batch.batch_id, makeRow, (row, batch) => updateRow(row, batch, page.at));
    this.next = page.next;
    byId("batches-older").hidden = page.next === null;
    byId("batches-newest").hidden = this.cursor === null;
    for (const select of this.filters.elements) select.disabled = this.prefix !== "";
    const filtered = this.cursor !== null || [...new FormData(this.filters).values()].some(Boolean);
    this.showEmpty(this.prefix ? "No batch has an id that begins so." : filtered ? "No batch matches." : "No batch yet. A batch is listed here after its registration or its first content.");
  }

  showEmpty(text) {
    const empty = byId("batches-empty");
    setText(empty, text);
    empty.hidden = this.list.childElementCount > 0;
  }
}

function makeRow(batch) {
  const link = el("a", { href: linkTo(batch.batch_id), title: batch.batch_id }, batch.batch_id);
  const cells = { state: el("span", { class: "badge" }), bar: makeBar(), slots: el("span", { class: "slots" }), age: el("span", { class: "age" }) };
  const row = el("li", {}, el("div", { class: "row-head" }, link, cells.state), cells.bar, el("div", { class: "row-foot" }, cells.slots, cells.age));
  row.cells = cells;
  return row;
}

function updateRow(row, batch, now) {
  const { state, bar, slots, age } = row.cells;
  const overdue = batch.state === "open" && batch.timed_out_at !== null;
  setText(state, overdue ? "overdue" : STATES[batch.state]);
  state.dataset.state = overdue ? "overdue" : batch.state;
  updateBar(bar, batch);
  setText(slots, slotCounts(batch));
  setText(age, `${batch.class_type ?? "class unknown"} · ${ago(batch.created_at, now)}`);
}

function slotCounts(batch) {
  if (batch.expected === null) return `${count(batch.pending)} pending`;
  const failed = batch.failed ? `, ${count(batch.failed)} failed` : "";
  const conflicts = batch.conflicts ? `, ${plural(batch.conflicts, "rejected registration")}` : "";
  return `${count(batch.filled)} of ${count(batch.expected)}${failed}${conflicts}`;
}
