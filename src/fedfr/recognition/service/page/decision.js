// A decision in words and numbers.

import { sentence } from "./api.js";
import { h, icon } from "./dom.js";
import { reasonList } from "./parts.js";
import { evidence, promise, scores } from "./words.js";

/** Return {kind, title, text} of a decision. */
export function inWords(decision) {
  if (decision.decision === "accept") {
    return { kind: "accept", title: decision.person, text: "Recognized: similar enough to this enrolled person." };
  }
  if (decision.decision === "reject") {
    return { kind: "reject", title: "Not recognized", text: "No enrolled person is similar enough." };
  }
  const [reason] = decision.reasons;
  if (reason?.code === "no-face") return { kind: "waiting", title: "No face in view", text: sentence(reason.advice) };
  return { kind: "no-decision", title: "No decision", text: reason ? sentence(reason.text) : "The image cannot be judged." };
}

/** A card for decisions that keeps its place while they change. */
export class DecisionCard {
  constructor() {
    this.badge = h("div", { class: "badge" });
    this.title = h("p", { class: "outcome" });
    this.text = h("p", { class: "caption" });
    this.meter = meter();
    this.facts = h("div", { class: "facts" });
    this.node = h("div", { class: "card decision waiting", role: "group", "aria-label": "Decision" },
      h("div", { class: "verdict" }, this.badge, h("div", {}, this.title, this.text)), this.meter.node, this.facts);
    this.idle("Waiting for a face", "Start the camera, or choose a photo.");
  }

  idle(title, text) {
    this.#head({ kind: "waiting", title, text });
    this.meter.show(null, null);
    this.facts.replaceChildren();
  }

  /** Show a decision; `first` is what to do before another attempt. */
  show(decision, first = "") {
    this.#head(inWords(decision));
    this.meter.show(decision.score, decision.threshold);
    const waiting = decision.reasons.some((reason) => reason.code === "no-face");
    const facts = [];
    if (decision.reasons.length && !waiting) facts.push(fact("What to do", adviceOf(decision, first)));
    if (decision.score !== null) facts.push(stated("How sure", evidence(decision.llr)));
    if (decision.strangers_passing) facts.push(stated("Promise", promise(decision.strangers_passing)));
    this.facts.replaceChildren(...facts);
  }

  #head({ kind, title, text }) {
    this.node.className = `card decision ${kind}`;
    this.badge.replaceChildren(icon(kind));
    this.title.textContent = title;
    this.text.textContent = text;
  }
}

/** Return what to do; the caption says already why a single reason holds. */
function adviceOf({ reasons }, first) {
  return reasons.length === 1 ? h("p", {}, `${sentence(reasons[0].advice)} ${first}`.trim()) : reasonList(reasons);
}

const fact = (title, ...content) => h("div", { class: "fact" }, h("h2", {}, title), ...content);
const stated = (title, { headline, detail }) => fact(title, h("p", {}, h("strong", {}, headline), " ", h("span", { class: "detail" }, detail)));

/** A bar of the score with a mark at the threshold. */
function meter() {
  const fill = h("div", { class: "fill" });
  const tick = h("div", { class: "tick" });
  const track = h("div", { class: "track", role: "img" }, fill, tick);
  const value = h("span", { class: "value" });
  const limit = h("span", { class: "limit" });
  const node = h("div", { class: "meter" }, h("div", { class: "legend" }, value, limit), track);
  const show = (given, threshold) => {
    const known = given !== null && threshold !== null;
    node.classList.toggle("empty", !known);
    const [own, needed] = scores(given, threshold);
    value.textContent = `Score ${own}`;
    limit.textContent = known ? `needed: more than ${needed}` : "";
    track.setAttribute("aria-label", known ? `Score ${own}, threshold ${needed}: ${given > threshold ? "above" : "not above"}` : "No score");
    // A cosine ends at 1; a normalized score does not.
    const most = known ? Math.max(1, given, 1.05 * threshold) : 1;
    const place = (number) => `${100 * Math.min(1, Math.max(0, number / most))}%`;
    fill.style.width = known ? place(given) : "0%";
    tick.style.left = known ? place(threshold) : "0%";
  };
  return { node, show };
}
