// Dead letters: the reason of each, its record as printable text, and a button that replays it.

import { linkTo } from "./batches.js";
import { ago, byId, count, el, plural, setText, shortTopic, spaced, updateRows } from "./dom.js";
import { get, post } from "./server.js";

export class DeadLetters {
  constructor(report) {
    this.report = report;
    this.list = byId("dead-letters");
    this.filters = byId("dead-letter-filters");
    this.replayResult = byId("replay-result");
    this.cursor = null;
    this.next = null;
    this.filters.addEventListener("submit", (event) => event.preventDefault());
    this.filters.addEventListener("change", () => this.openPage(null));
    byId("dead-letters-newest").addEventListener("click", () => this.openPage(null));
    byId("dead-letters-older").addEventListener("click", () => this.openPage(this.next));
  }

  openPage(cursor) {
    this.cursor = cursor;
    this.poll.now();
  }

  offerReasons(counts) {
    const select = this.filters.elements.reason;
    if (select.options.length > 1) return;
    for (const reason of Object.keys(counts)) select.append(el("option", { value: reason }, spaced(reason)));
  }

  get path() {
    const query = new URLSearchParams({ limit: "10" });
    for (const [name, value] of new FormData(this.filters)) if (value) query.set(name, value);
    if (this.cursor) query.set("cursor", this.cursor);
    return `/api/dead-letters?${query}`;
  }

  async refresh(isCurrent) {
    try {
      const page = await get(this.path);
      this.report("dead letters", null);
      if (isCurrent()) this.show(page);
    } catch (error) {
      this.report("dead letters", error);
      if (!this.list.childElementCount) this.showEmpty("The dead letters can't be read now.");
    }
  }

  show(page) {
    updateRows(this.list, page.dead_letters, (item) => `${item.id} ${item.state}`, (item) => this.makeRow(item), (row, item) => setText(row.age, ago(item.created_at, page.at)));
    this.next = page.next;
    byId("dead-letters-older").hidden = page.next === null;
    byId("dead-letters-newest").hidden = this.cursor === null;
    const { reason, state } = this.filters.elements;
    this.showEmpty(reason.value || this.cursor ? "No dead letter matches." : `No dead letter is ${state.value}.`);
  }

  showEmpty(text) {
    const empty = byId("dead-letters-empty");
    setText(empty, text);
    empty.hidden = this.list.childElementCount > 0;
  }

  makeRow(item) {
    const age = el("span", { class: "age" });
    const body = el("div", { class: "body" }, el("p", { class: "empty" }, "loading …"));
    const summary = el("summary", {}, el("span", { class: "reason" }, spaced(item.reason)), el("span", { class: "source" }, `${shortTopic(item.topic)} ${item.partition}/${item.offset}`), age);
    const row = el("details", { class: "dead-letter", "data-id": item.id }, summary, body);
    row.age = age;
    row.addEventListener("toggle", () => row.open && this.load(body, item.id));
    return row;
  }

  async load(body, id) {
    try {
      body.replaceChildren(...this.details(await get(`/api/dead-letters/${id}`)));
    } catch (error) {
      body.replaceChildren(el("p", { class: "empty" }, `It can't be shown: ${error.message}.`));
    }
  }

  details(item) {
    const nodes = [el("p", {}, item.message)];
    if (item.batch_id !== null) nodes.push(el("p", {}, "batch ", el("a", { href: linkTo(item.batch_id) }, item.batch_id)));
    if (item.replay_of !== null) nodes.push(el("p", {}, `A replay of this record failed. Its first dead letter is ${item.replay_of}.`));
    nodes.push(el("pre", { class: "bytes", tabindex: "0", "aria-label": "The record's bytes" }, item.value ?? "(the bytes were deleted)"));
    const truncated = item.value_truncated ? "; only the first are shown" : "";
    nodes.push(el("p", { class: "small" }, `${plural(item.value_size, "byte")}${truncated}; key ${item.key ?? "none"}`));
    if (item.headers.length) nodes.push(el("p", { class: "small" }, item.headers.map(([name, value]) => `${name}: ${value}`).join("; ")));
    if (item.replayable) nodes.push(this.replayButton(item.id));
    return nodes;
  }

  replayButton(id) {
    const button = el("button", { type: "button", class: "replay" }, "Replay");
    button.addEventListener("click", async () => {
      button.disabled = true;
      setText(this.replayResult, `Replaying dead letter ${count(id)} …`);
      setText(this.replayResult, await this.replay(id));
      button.disabled = false;
      this.poll.now();
    });
    return button;
  }

  async replay(id) {
    try {
      const { outcome, detail } = await post(`/api/dead-letters/${id}/replay`);
      if (outcome === "failed_again") return `Dead letter ${count(id)} failed again and left a new dead letter: ${detail}`;
      return `Dead letter ${count(id)} replayed: ${spaced(outcome)}.`;
    } catch (error) {
      return `Dead letter ${count(id)} was not replayed: ${error.message}${error.correlationId ? ` (${error.correlationId})` : ""}`;
    }
  }
}
