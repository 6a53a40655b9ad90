// Figure of the strangers' and own scores with the threshold, and the same as a table.

import { h, s } from "./dom.js";
import { count, percent, score } from "./words.js";

const HEIGHT = 300;
const EDGE = { left: 46, right: 14, top: 44, bottom: 46 };
const ROWS = 12;

const sum = (numbers) => numbers.reduce((total, number) => total + number, 0);

/** Return a figure that fits its width; `histograms` is {edges, strangers, own}. */
export function histogramFigure(histograms, threshold) {
  const place = h("div", { class: "plot" });
  const description = describe(histograms, threshold);
  const draw = () => {
    const width = Math.round(place.clientWidth);
    if (width > 0) place.replaceChildren(drawing(histograms, threshold, width, description));
  };
  const watcher = new ResizeObserver(draw);
  watcher.observe(place);
  const own = sum(histograms.own);
  const node = h("figure", { class: "card histogram" },
    h("figcaption", {},
      h("span", { class: "key strangers" }, h("i", {}), `Strangers (${sum(histograms.strangers).toLocaleString("en")} people)`),
      h("span", { class: "key own" }, h("i", {}), own ? `Enrolled people (${count(own, "photo")})` : "Enrolled people: no scores, nobody has two photos"),
      h("span", { class: "key limit" }, h("i", {}), `Threshold ${score(threshold)}`)),
    place, h("details", {}, h("summary", {}, "The figure as a table"), table(histograms, threshold)));
  return { node, close: () => watcher.disconnect() };
}

function describe({ edges, strangers, own }, threshold) {
  const range = (counts) => {
    const used = counts.map((number, bin) => (number ? bin : -1)).filter((bin) => bin >= 0);
    return used.length ? `from ${score(edges[used[0]])} to ${score(edges[used.at(-1) + 1])}` : "none";
  };
  return `Histogram of scores. Strangers: ${range(strangers)}. Enrolled people: ${range(own)}. The threshold is ${score(threshold)}; only higher scores are accepted.`;
}

function drawing({ edges, strangers, own }, threshold, width, description) {
  const inner = { width: width - EDGE.left - EDGE.right, height: HEIGHT - EDGE.top - EDGE.bottom };
  const [low, high] = [Math.min(edges[0], threshold), Math.max(edges.at(-1), threshold)];
  const margin = 0.02 * (high - low || 1);
  const x = (value) => EDGE.left + (inner.width * (value - low + margin)) / (high - low + 2 * margin);
  const groups = [["strangers", strangers], ["own", own]].map(([name, counts]) => [name, counts.map((number) => number / (sum(counts) || 1))]);
  const ticksY = steps(0, Math.max(...groups.flatMap(([, shares]) => shares), 0.01), 4);
  const most = ticksY.at(-1);
  const bottom = EDGE.top + inner.height;
  const y = (share) => bottom - (inner.height * share) / most;
  const limit = x(threshold);
  const bars = groups.map(([name, shares]) => s("g", { class: `bars ${name}` }, shares.map((share, bin) => share > 0 &&
    s("rect", { x: x(edges[bin]), y: y(share), width: Math.max(1, x(edges[bin + 1]) - x(edges[bin])), height: bottom - y(share) }))));
  const narrow = width - limit < 90;
  return s("svg", { role: "img", "aria-label": description, width, height: HEIGHT, viewBox: `0 0 ${width} ${HEIGHT}` },
    s("defs", {}, s("pattern", { id: "hatch", width: 5, height: 5, patternUnits: "userSpaceOnUse", patternTransform: "rotate(45)" },
      s("rect", { class: "ground", width: 5, height: 5 }), s("line", { class: "stripe", x1: 0, y1: 0, x2: 0, y2: 5 }))),
    s("rect", { class: "accepted", x: limit, y: EDGE.top, width: Math.max(0, EDGE.left + inner.width - limit), height: inner.height }),
    ticksY.map((share) => [
      s("line", { class: "grid", x1: EDGE.left, x2: EDGE.left + inner.width, y1: y(share), y2: y(share) }),
      s("text", { class: "tick-y", x: EDGE.left - 6, y: y(share) + 4 }, percent(share)),
    ]),
    bars,
    steps(low, high, width < 480 ? 4 : 8).filter((value) => value >= low - 1e-9).map((value) =>
      s("text", { class: "tick-x", x: x(value), y: bottom + 18 }, score(value))),
    s("text", { class: "axis", x: EDGE.left + inner.width / 2, y: HEIGHT - 6 }, width < 480 ? "Score: similarity of the faces" : "Score: similarity to the most similar enrolled person"),
    s("line", { class: "threshold", x1: limit, x2: limit, y1: EDGE.top - 8, y2: bottom }),
    s("text", { class: limit < 130 ? "side" : "side before", x: limit < 130 ? 4 : limit - 8, y: EDGE.top - (narrow ? 28 : 14) }, "← not recognized"),
    s("text", { class: narrow ? "side before" : "side", x: narrow ? limit - 8 : limit + 8, y: EDGE.top - (narrow ? 12 : 14) }, "accepted →"));
}

/** Return about `wanted` round numbers from `low` to at least `high`. */
function steps(low, high, wanted) {
  const raw = (high - low || 1) / wanted;
  const unit = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].map((each) => each * unit).find((each) => each >= raw - 1e-12);
  const found = [];
  for (let number = Math.ceil(low / step - 1e-9); found.length < 50; number++) {
    found.push(number * step);
    if (number * step >= high - 1e-9 || (low !== 0 && (number + 1) * step > high + 1e-9)) break;
  }
  return found;
}

function table({ edges, strangers, own }, threshold) {
  const size = Math.max(1, Math.ceil(strangers.length / ROWS));
  const rows = [];
  for (let start = 0; start < strangers.length; start += size) {
    const end = Math.min(start + size, strangers.length);
    const holds = threshold >= edges[start] && threshold < edges[end];
    rows.push(h("tr", {}, h("th", { scope: "row" }, `${score(edges[start])} to ${score(edges[end])}${holds ? " (threshold)" : ""}`),
      h("td", {}, sum(strangers.slice(start, end))), h("td", {}, sum(own.slice(start, end)))));
  }
  return h("table", {}, h("caption", { class: "unseen" }, "Number of scores in each range"),
    h("thead", {}, h("tr", {}, h("th", { scope: "col" }, "Score"), h("th", { scope: "col" }, "Strangers"), h("th", { scope: "col" }, "Photos of enrolled people"))),
    h("tbody", {}, rows));
}
