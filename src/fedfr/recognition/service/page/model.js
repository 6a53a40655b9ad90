// The model of the gallery, and the change to a newer one.

import { Problem, get, post, sentence } from "./api.js";
import { announce, h } from "./dom.js";
import { busy, message, problemBox } from "./parts.js";
import { count } from "./words.js";

const POLL = 1000;

const ROLES = {
  generic: "Generic: one model for everybody.",
  personalized: "Personalized: trained with the people of this place.",
};

/** Return a card for administrators; `changed` is called when the gallery has a new model. */
export function modelCard(context, changed, signal) {
  const state = h("div", { class: "trouble", tabindex: "-1" });
  const id = h("code", {}, context.gallery.space);
  const node = h("section", { class: "card model" }, h("h2", {}, "Model"),
    h("p", {}, `${ROLES[context.gallery.model] ?? context.gallery.model} `, h("span", { class: "detail" }, "Its id is ", id, ".")),
    h("p", { class: "hint" }, "Numbers of one model cannot be compared with those of another: the change computes all of them again. Until it is complete, the old model decides."), state);
  const button = h("button", { type: "button", on: { click: () => busy(button, start) } }, "Change to the newest model");
  let running = false;

  async function start() {
    state.focus(); // the button goes while the model is changed
    state.replaceChildren();
    await safely(async () => show(await post("/v1/rebuild", undefined, { signal })));
  }

  async function look() {
    await safely(async () => show(await get("/v1/rebuild", { signal })));
  }

  async function safely(work) {
    try {
      await work();
    } catch (problem) {
      if (!(problem instanceof Problem)) throw problem;
      if (problem.code !== "stopped") state.replaceChildren(problemBox(problem));
    }
  }

  async function show(rebuild) {
    const was = running;
    running = rebuild.state === "running";
    if (running) {
      if (!was) announce("The model is being changed.");
      const text = rebuild.total ? `${rebuild.done} of ${rebuild.total} done.` : "The new model is being read.";
      state.replaceChildren(h("progress", { max: rebuild.total || 1, value: rebuild.total ? rebuild.done : null, "aria-label": "Change of the model" }), h("p", { class: "hint" }, text));
      setTimeout(() => signal.aborted || look(), POLL);
      return;
    }
    if (was && rebuild.state === "done") {
      await context.refresh().catch(() => {});
      id.textContent = context.gallery.space;
    }
    const said = saidOf(rebuild);
    if (was && said) announce(said.textContent);
    state.replaceChildren(...[said, rebuild.possible ? h("div", {}, button) : nowhere()].filter(Boolean));
    if (was && rebuild.state === "done" && rebuild.result?.changed) changed();
  }

  look();
  return node;
}

function saidOf({ state, result, error }) {
  if (state === "failed") return message("bad", "The model was not changed.", sentence(error),
    / --\w/.test(error) && h("p", {}, "Options are those of ", h("code", {}, "fedfr gallery rebuild"), " on the machine of this service."));
  if (state !== "done" || !result) return null;
  if (!result.changed) return message("info", "The gallery has the newest model already.");
  const waiting = result.needs_photo.length;
  return message(waiting ? "warning" : "good", "The new model is in use.", `${count(result.people, "person", "people")} can be recognized.`,
    waiting ? h("p", {}, `${count(waiting, "person needs", "people need")} a new photo. `, h("a", { href: "#people" }, "See people")) : null);
}

const nowhere = () => h("p", { class: "hint" }, "This service knows no newer model. On its machine, ", h("code", {}, "fedfr gallery rebuild"), " changes to another one.");
