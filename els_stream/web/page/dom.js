// Elements and number formats. Data of the service is inserted as text only, never as markup.

export function el(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === true) node.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) node.setAttribute(name, value);
  }
  node.append(...children.filter((child) => child !== null && child !== undefined));
  return node;
}

export const byId = (id) => document.getElementById(id);

// Writes only a change: otherwise a screen reader would read the text again, and a selection would be lost.
export function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

// Makes the children of `parent` one row per item. A row keeps its element, and so its focus and open state.
export function updateRows(parent, items, keyOf, make, update) {
  const rows = parent.rows ?? (parent.rows = new Map());
  const keys = new Set(items.map(keyOf));
  for (const [key, row] of rows) {
    if (!keys.has(key)) {
      row.remove();
      rows.delete(key);
    }
  }
  let next = parent.firstElementChild;
  for (const item of items) {
    const key = keyOf(item);
    let row = rows.get(key);
    if (!row) rows.set(key, (row = make(item)));
    update(row, item);
    if (row === next) next = next.nextElementSibling;
    else parent.insertBefore(row, next);
  }
}

const INTEGER = new Intl.NumberFormat("en");

export const count = (number) => INTEGER.format(number);

export const plural = (number, one, more = `${one}s`) => `${count(number)} ${number === 1 ? one : more}`;

export function duration(seconds) {
  if (seconds === null || seconds === undefined) return "–";
  if (seconds < 0.0005) return "0 s";
  if (seconds < 1) return `${Math.round(seconds * 1000)} ms`;
  if (seconds < 10) return `${seconds.toFixed(1).replace(".0", "")} s`;
  if (seconds < 120) return `${Math.round(seconds)} s`;
  if (seconds < 7200) return `${Math.round(seconds / 60)} min`;
  if (seconds < 172800) return `${Math.round(seconds / 3600)} h`;
  return `${Math.round(seconds / 86400)} days`;
}

// `now` is the worker's clock, which stamps every answer: the browser's clock may be wrong.
export const secondsSince = (time, now) => Math.max(0, (Date.parse(now) - Date.parse(time)) / 1000);

export function ago(time, now) {
  const seconds = secondsSince(time, now);
  return seconds < 1 ? "now" : `${duration(Math.round(seconds))} ago`;
}

const CLOCK = { hour: "2-digit", minute: "2-digit", second: "2-digit", fractionalSecondDigits: 3, hour12: false };
const DAY = { year: "numeric", month: "long", day: "numeric" };

export const clock = (time) => new Date(time).toLocaleTimeString("en-GB", CLOCK);
export const day = (time) => new Date(time).toLocaleDateString("en-GB", DAY);
export const dayAndTime = (time) => `${day(time)}, ${clock(time).slice(0, 5)}`;

export const shortTopic = (topic) => topic.replace(/^.*?huleedu\./, "").replace(/\.v1$/, "");

export const spaced = (code) => code.replaceAll("_", " ");
