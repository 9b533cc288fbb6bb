// Dead letters: the reason of each, its record as printable text, and a button that replays it.

import { linkTo } from "./batches.js";
import { ago, byId, count, el, plural, setText, shortTopic, spaced, updateRows } from "./dom.js";
import { get, post } from "./server.js";

// So many violations of one field within an hour mean that a sender changed it.
const DRIFT_FROM = 5;
const groupKey = (group) => JSON.stringify([group.reason, group.field, group.topic]);

export class DeadLetters {
  constructor(report) {
    this.report = report;
    this.list = byId("dead-letters");
    this.filters = byId("dead-letter-filters");
    this.replayResult = byId("replay-result");
    this.groups = byId("dead-letter-groups");
    this.group = null;
    this.cursor = null;
    this.next = null;
    this.filters.addEventListener("submit", (event) => event.preventDefault());
    this.filters.addEventListener("change", () => this.openPage(null));
    byId("dead-letter-group-all").addEventListener("click", () => this.selectGroup(null));
    byId("dead-letters-newest").addEventListener("click", () => this.openPage(null));
    byId("dead-letters-older").addEventListener("click", () => this.openPage(this.next));
  }

  openPage(cursor) {
    this.cursor = cursor;
    this.poll.now();
  }

  selectGroup(group) {
    this.group = group;
    byId("dead-letter-group").hidden = group === null;
    if (group !== null) {
      setText(byId("dead-letter-group-text"), `Shown: ${groupTitle(group)}.`);
      this.filters.elements.state.value = "open";
      this.offerReasons({ [group.reason]: group.count }); // perhaps one of a newer release
      this.filters.elements.reason.value = group.reason;
    } else this.filters.elements.reason.value = "";
    this.openPage(null);
  }

  offerReasons(counts) {
    const select = this.filters.elements.reason;
    const offered = new Set([...select.options].map((option) => option.value));
    for (const reason of Object.keys(counts)) if (!offered.has(reason)) select.append(el("option", { value: reason }, spaced(reason)));
  }

  get path() {
    const query = new URLSearchParams({ limit: "10" });
    for (const [name, value] of new FormData(this.filters)) if (value) query.set(name, value);
    if (this.group?.reason === query.get("reason")) {
      query.set("topic", this.group.topic);
      query.set("field", this.group.field ?? "");
    }
    if (this.cursor) query.set("cursor", this.cursor);
    return `/api/dead-letters?${query}`;
  }

  async refresh(isCurrent) {
    try {
      const [page, { groups }] = await Promise.all([get(this.path), get("/api/dead-letter-groups")]);
      this.report("dead letters", null);
      if (!isCurrent()) return;
      this.show(page);
      updateRows(this.groups, groups, groupKey, (group) => this.makeGroup(group), updateGroup);
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

  makeGroup(group) {
    const cells = { title: el("span", {}), drift: el("strong", { class: "drift" }), message: el("span", { class: "small" }) };
    const show = el("button", { type: "button" }, "Show");
    const replay = el("button", { type: "button", class: "replay" }, "Replay all of these");
    const row = el("li", {}, el("div", {}, cells.drift, cells.title), cells.message, el("div", { class: "pager" }, show, replay));
    row.cells = cells;
    show.addEventListener("click", () => this.selectGroup(row.group));
    replay.addEventListener("click", () => this.replayGroup(row.group, replay));
    return row;
  }

  // The worker replays for some seconds and says where to go on. A record that fails again is tried once.
  async replayGroup(group, button) {
    if (!confirm(`Replay ${plural(group.count, "dead letter")}: ${groupTitle(group)}?`)) return;
    button.disabled = true;
    const totals = { replayed: 0, failed_again: 0, not_replayable: 0 };
    const say = (text) => setText(this.replayResult, `${text}: ${count(totals.replayed)} replayed, ${count(totals.failed_again)} failed again${totals.not_replayable ? `, ${count(totals.not_replayable)} not replayable` : ""}.`);
    const query = new URLSearchParams({ reason: group.reason, topic: group.topic, field: group.field ?? "", last: group.newest_id });
    try {
      for (let after = 0; after !== null; ) {
        query.set("after", after);
        const answer = await post(`/api/dead-letter-groups/replay?${query}`);
        for (const [outcome, number] of Object.entries(answer.outcomes)) totals[outcome] += number;
        after = answer.after;
        say(after === null ? "Done" : "Replaying");
      }
    } catch (error) {
      say(`Stopped, since ${error.message}`);
    }
    button.disabled = false;
    this.poll.now();
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

function groupTitle({ reason, field, topic }) {
  return `${spaced(reason)}${field === null ? "" : ` at ${field}`}, ${shortTopic(topic)}`;
}

function updateGroup(row, group) {
  row.group = group;
  const isDrift = group.reason === "contract_violation" && group.last_hour >= DRIFT_FROM;
  setText(row.cells.drift, isDrift ? "A sender changed this. " : "");
  setText(row.cells.title, `${plural(group.count, "dead letter")}: ${groupTitle(group)}; ${count(group.last_hour)} in the last hour`);
  setText(row.cells.message, group.message);
}
