// A small line chart of the last hour, with the current value and the highest.

import { duration, el, setText } from "./dom.js";

const SVG = "http://www.w3.org/2000/svg";
const WIDTH = 300;
const HEIGHT = 56;
const MIN_SAMPLES = 60;
const MAX_POINTS = 180;

function shape(tag, attributes) {
  const node = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  return node;
}

export class Chart {
  constructor(title, format) {
    this.title = title;
    this.format = format;
    this.current = el("strong", {}, "–");
    this.peak = el("span");
    this.period = el("span", { class: "period" });
    this.area = shape("path", { class: "area" });
    this.line = shape("path", { class: "line" });
    this.svg = shape("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", role: "img" });
    this.svg.append(this.area, this.line);
    this.node = el("figure", { class: "chart" }, el("figcaption", {}, el("span", {}, title), this.current), this.svg, el("span", { class: "peak" }, this.peak, this.period));
  }

  // `values` has one value per interval, the newest last, and null where it is unknown.
  draw(values, intervalSeconds) {
    const known = values.filter((value) => value !== null);
    const samples = Math.max(MIN_SAMPLES, values.length);
    const highest = known.length ? Math.max(...known) : null;
    setText(this.current, known.length ? this.format(known.at(-1)) : "–");
    setText(this.peak, highest === null ? "no data yet" : `at most ${this.format(highest)}`);
    setText(this.period, highest === null ? "" : ` in the last ${duration(samples * intervalSeconds)}`);
    this.svg.setAttribute("aria-label", `${this.title}: now ${this.current.textContent}, ${this.peak.textContent}${this.period.textContent}`);
    const { line, area } = outline(reduce(values, samples), highest || 1);
    this.line.setAttribute("d", line);
    this.area.setAttribute("d", area);
  }
}

// Reduces to at most MAX_POINTS; each point is the highest of its values, so that no peak is lost.
function reduce(values, samples) {
  const each = Math.max(1, Math.ceil(samples / MAX_POINTS));
  const points = Math.ceil(samples / each);
  const padded = [...Array(points * each - values.length).fill(null), ...values];
  return Array.from({ length: points }, (_, point) => {
    const group = padded.slice(point * each, (point + 1) * each).filter((value) => value !== null);
    return group.length ? Math.max(...group) : null;
  });
}

// Returns the SVG paths of the line and of the area below it, with a gap where a value is unknown.
function outline(values, highest) {
  let line = "";
  let area = "";
  let segment = [];
  const close = () => {
    if (segment.length === 1) segment.push([segment[0][0] + 1.5, segment[0][1]]);
    if (segment.length) {
      const path = segment.map(([x, y]) => `${x.toFixed(1)} ${y.toFixed(1)}`).join("L");
      line += `M${path}`;
      area += `M${segment[0][0].toFixed(1)} ${HEIGHT}L${path}L${segment.at(-1)[0].toFixed(1)} ${HEIGHT}Z`;
    }
    segment = [];
  };
  values.forEach((value, index) => {
    if (value === null) close();
    else segment.push([(index * WIDTH) / (values.length - 1), HEIGHT - 2 - (value / highest) * (HEIGHT - 6)]);
  });
  close();
  return { line, area };
}
