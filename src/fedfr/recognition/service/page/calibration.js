// View "Calibration": thresholds, what they promise, and a new rate.

import { Problem, get, post } from "./api.js";
import { announce, h } from "./dom.js";
import { histogramFigure } from "./histogram.js";
import { modelCard } from "./model.js";
import { busy, heading, message, problemBox } from "./parts.js";
import { count, localTime, percent, promise, provable, roughly, score } from "./words.js";

export const calibrationView = { name: "calibration", title: "Calibration", open };

function open(root, context) {
  const closing = new AbortController();
  const content = h("div", { class: "calibration-content" }, h("p", { class: "loading" }, "Loading …"));
  const outcome = h("div", { class: "trouble" });
  let figure = null;

  async function load() {
    try {
      show(await get("/v1/calibration", { signal: closing.signal }));
    } catch (problem) {
      if (!(problem instanceof Problem)) throw problem;
      if (problem.code === "stopped") return;
      content.replaceChildren(problem.code === "not-calibrated" ? missing() : problemBox(problem));
      if (problem.code === "not-calibrated" && context.admin && context.gallery.enrolled) content.append(rate(context.gallery.fpir, context.gallery.strangers));
    }
  }

  function missing() {
    const empty = context.gallery.enrolled === 0;
    return message("warning", "There is no threshold yet, so nobody is recognized.",
      empty ? "Enrol people first; the threshold is then computed by itself." : "Calibrate with the form below.",
      empty && context.admin && h("p", {}, h("a", { href: "#enrol" }, "Enrol people")));
  }

  async function show(found) {
    figure?.close();
    figure = histogramFigure(found.histograms, found.identify.value);
    content.replaceChildren(facts(found, context.gallery), figure.node, ...(context.admin ? [rate(found.fpir, found.identify.strangers)] : []));
    if (!context.admin || !found.attracting?.length) return;
    const { persons } = await get("/v1/persons", { signal: closing.signal }).catch(() => ({ persons: [] }));
    const names = new Map(persons.map((person) => [person.id, person.name]));
    content.append(attraction(found.attracting.filter((one) => names.has(one.person)), names));
  }

  function rate(fpir, strangers) {
    const best = provable(strangers);
    const input = h("input", { id: "rate", type: "number", step: "any", min: "0.0001", max: "99", required: true, inputmode: "decimal", value: String(Number((100 * fpir).toPrecision(6))), "aria-describedby": "rate-help" });
    const button = h("button", { type: "submit", class: "primary" }, "Calibrate");
    const submit = async (event) => {
      event.preventDefault();
      outcome.replaceChildren();
      try {
        const { calibration } = await busy(button, () => post("/v1/calibration", { fpir: Number(input.value) / 100 }, { signal: closing.signal }));
        await context.refresh().catch(() => {});
        if (calibration) await show(calibration);
        outcome.replaceChildren(message("good", "Calibrated.", calibration ? promise(calibration.strangers_passing).headline : "The rate holds from the first enrolment on."));
        announce("Calibrated.");
        document.getElementById("rate")?.focus();
      } catch (problem) {
        if (!(problem instanceof Problem)) throw problem;
        if (problem.code !== "stopped") outcome.replaceChildren(problemBox(problem));
      }
    };
    return h("form", { class: "card rate", on: { submit } }, h("h2", {}, "Change the promise"),
      h("label", { for: "rate" }, "Largest share of strangers who may pass, in percent"),
      h("div", { class: "inline" }, input, button),
      h("p", { class: "hint", id: "rate-help" }, `Smaller is safer, but own people are rejected more often. ${count(strangers, "stranger")} can prove ${percent(best)} at best; less needs more strangers.`), outcome);
  }

  root.append(heading("Calibration", "How similar must a face be? The threshold is set so that of people who are not enrolled – strangers – hardly any pass."), content,
    ...(context.admin ? [modelCard(context, load, closing.signal)] : []));
  load();
  return () => {
    figure?.close();
    closing.abort();
  };
}

function facts(found, gallery) {
  const { detail } = promise(found.strangers_passing);
  const own = found.genuine;
  return h("dl", { class: "tiles" },
    tile("Promise", `≤ ${percent(found.strangers_passing.upper95)}`, `of strangers pass. ${detail}`),
    tile("Threshold", score(found.identify.value), `A face is accepted if its score is higher. ${found.normalization === "none" ? "Scores are cosines: 1 is the same image." : "Scores are normalized with a set of further people."}`),
    tile("Own people rejected", own ? roughly(own.rate) : "Unknown", own
      ? `Share of own photos that are not recognized: between ${roughly(own.low)} and ${roughly(own.high)} with 95\u00a0% certainty, from ${count(own.images, "photo")} of ${count(own.people, "person", "people")}.`
      : "It can be measured when enrolled people have two photos or more."),
    tile("Strangers", found.identify.strangers.toLocaleString("en"), `people who are not enrolled and whom the model never saw. Computed ${localTime(found.created)}${gallery.enrolled === found.enrolled ? "" : ", before the last change"}.`));
}

const tile = (title, value, text) => h("div", { class: "card tile" }, h("dt", {}, title), h("dd", {}, h("span", { class: "number" }, value), h("span", { class: "detail" }, text)));

function attraction(rows, names) {
  return h("section", { class: "card" }, h("h2", {}, "Whom strangers resemble"),
    h("p", { class: "hint" }, "A person whom many strangers resemble makes the threshold high for all. Better photos of that person help."),
    h("table", {}, h("caption", { class: "unseen" }, "Enrolled people whom most strangers resemble"),
      h("thead", {}, h("tr", {}, h("th", { scope: "col" }, "Person"), h("th", { scope: "col" }, "Strangers most like this person"), h("th", { scope: "col" }, "Strangers who pass"))),
      h("tbody", {}, rows.map((one) => h("tr", {}, h("th", { scope: "row" }, names.get(one.person)), h("td", {}, percent(one.nearest)), h("td", {}, one.passing))))));
}
