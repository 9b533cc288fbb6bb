// Dead letters: why each is one, its bytes as text that is safe to look at, and a second chance.

import { linkTo } from "./batches.js";
import { ago, byId, count, el, keepRows, many, setText, shortTopic, spaced } from "./dom.js";
import { get, post } from "./server.js";

export class Letters {
  constructor(report) {
    this.report = report;
    this.list = byId("letters");
    this.filters = byId("letter-filters");
    this.told = byId("letters-told");
    this.cursor = null;
    this.next = null;
    this.filters.addEventListener("submit", (event) => event.preventDefault());
    this.filters.addEventListener("change", () => this.turnTo(null));
    byId("letters-newest").addEventListener("click", () => this.turnTo(null));
    byId("letters-older").addEventListener("click", () => this.turnTo(this.next));
  }

  turnTo(cursor) {
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

  async look(wanted) {
    try {
      const page = await get(this.path);
      this.report("letters", null);
      if (wanted()) this.show(page);
    } catch (trouble) {
      this.report("letters", trouble);
      if (!this.list.childElementCount) this.tellEmpty("They can't be read just now.");
    }
  }

  show(page) {
    keepRows(this.list, page.dead_letters, (letter) => `${letter.id} ${letter.state}`, (letter) => this.makeRow(letter), (row, letter) => setText(row.age, ago(letter.created_at, page.at)));
    this.next = page.next;
    byId("letters-older").hidden = page.next === null;
    byId("letters-newest").hidden = this.cursor === null;
    const { reason, state } = this.filters.elements;
    this.tellEmpty(reason.value || this.cursor ? "No dead letter is like that." : `No dead letter is ${state.value}.`);
  }

  tellEmpty(words) {
    const empty = byId("letters-empty");
    setText(empty, words);
    empty.hidden = this.list.childElementCount > 0;
  }

  makeRow(letter) {
    const age = el("span", { class: "age" });
    const inside = el("div", { class: "inside" }, el("p", { class: "empty" }, "asking …"));
    const summary = el("summary", {}, el("span", { class: "reason" }, spaced(letter.reason)), el("span", { class: "place" }, `${shortTopic(letter.topic)} ${letter.partition}/${letter.offset}`), age);
    const row = el("details", { class: "letter", "data-id": letter.id }, summary, inside);
    row.age = age;
    row.addEventListener("toggle", () => row.open && this.fill(inside, letter.id));
    return row;
  }

  async fill(inside, id) {
    try {
      inside.replaceChildren(...this.whole(await get(`/api/dead-letters/${id}`)));
    } catch (trouble) {
      inside.replaceChildren(el("p", { class: "empty" }, `It can't be shown: ${trouble.message}.`));
    }
  }

  whole(letter) {
    const nodes = [el("p", {}, letter.message)];
    if (letter.batch_id !== null) nodes.push(el("p", {}, "batch ", el("a", { href: linkTo(letter.batch_id) }, letter.batch_id)));
    if (letter.replay_of !== null) nodes.push(el("p", {}, `It failed again when dead letter ${letter.replay_of} or a later one was replayed.`));
    nodes.push(el("pre", { class: "bytes", tabindex: "0", "aria-label": "The record's bytes" }, letter.value ?? "(its bytes are gone)"));
    const cut = letter.value_cut ? ", of which the first are shown" : "";
    nodes.push(el("p", { class: "small" }, `${many(letter.value_size, "byte")}${cut}; key ${letter.key ?? "none"}`));
    if (letter.headers.length) nodes.push(el("p", { class: "small" }, letter.headers.map(([name, value]) => `${name}: ${value}`).join("; ")));
    if (letter.replayable) nodes.push(this.replayButton(letter.id));
    return nodes;
  }

  replayButton(id) {
    const button = el("button", { type: "button", class: "replay" }, "Replay");
    button.addEventListener("click", async () => {
      button.disabled = true;
      setText(this.told, `Dead letter ${count(id)} is being replayed …`);
      setText(this.told, await this.replayed(id));
      button.disabled = false;
      this.poll.now();
    });
    return button;
  }

  async replayed(id) {
    try {
      const { outcome, detail } = await post(`/api/dead-letters/${id}/replay`);
      if (outcome === "failed_again") return `Dead letter ${count(id)} failed again, and is another one now: ${detail}`;
      return `Dead letter ${count(id)} replayed: ${spaced(outcome)}.`;
    } catch (trouble) {
      return `Dead letter ${count(id)} was not replayed: ${trouble.message}${trouble.correlation ? ` (${trouble.correlation})` : ""}`;
    }
  }
}
