// A little chart: one line over the last hour, or what is known of it, with what it is now and its highest point.

import { duration, el, setText } from "./dom.js";

const SVG = "http://www.w3.org/2000/svg";
const WIDTH = 300;
const HEIGHT = 56;
const FEWEST = 60;
const POINTS = 180;

function shape(tag, attributes) {
  const node = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  return node;
}

export class Chart {
  constructor(title, format) {
    this.format = format;
    this.now = el("strong", {}, "–");
    this.most = el("span");
    this.span = el("span", { class: "span" });
    this.area = shape("path", { class: "area" });
    this.line = shape("path", { class: "line" });
    this.svg = shape("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", role: "img" });
    this.svg.append(this.area, this.line);
    this.title = title;
    this.node = el("figure", { class: "chart" }, el("figcaption", {}, el("span", {}, title), this.now), this.svg, el("span", { class: "most" }, this.most, this.span));
  }

  draw(values, stepSeconds) {
    const known = values.filter((value) => value !== null);
    const last = values.findLast((value) => value !== null);
    const steps = Math.max(FEWEST, values.length);
    const span = duration(steps * stepSeconds);
    const highest = known.length ? Math.max(...known) : null;
    setText(this.now, last === undefined ? "–" : this.format(last));
    setText(this.most, highest === null ? "nothing yet" : `at most ${this.format(highest)}`);
    setText(this.span, highest === null ? "" : ` in the last ${span}`);
    this.svg.setAttribute("aria-label", `${this.title}: now ${this.now.textContent}, ${this.most.textContent}${this.span.textContent}`);
    const { line, area } = outline(thinned(values, steps), highest || 1);
    this.line.setAttribute("d", line);
    this.area.setAttribute("d", area);
  }
}

// The highest of each few: a peak must not be lost between two points.
function thinned(values, steps) {
  const each = Math.max(1, Math.ceil(steps / POINTS));
  const points = Math.ceil(steps / each);
  const padded = [...Array(points * each - values.length).fill(null), ...values];
  return Array.from({ length: points }, (_, point) => {
    const few = padded.slice(point * each, (point + 1) * each).filter((value) => value !== null);
    return few.length ? Math.max(...few) : null;
  });
}

// Where nothing is known there is no line.
function outline(values, highest) {
  let line = "";
  let area = "";
  let run = [];
  const close = () => {
    if (run.length === 1) run.push([run[0][0] + 1.5, run[0][1]]);
    if (run.length) {
      const path = run.map(([x, y]) => `${x.toFixed(1)} ${y.toFixed(1)}`).join("L");
      line += `M${path}`;
      area += `M${run[0][0].toFixed(1)} ${HEIGHT}L${path}L${run.at(-1)[0].toFixed(1)} ${HEIGHT}Z`;
    }
    run = [];
  };
  values.forEach((value, index) => {
    if (value === null) close();
    else run.push([(index * WIDTH) / (values.length - 1), HEIGHT - 2 - (value / highest) * (HEIGHT - 6)]);
  });
  close();
  return { line, area };
}
