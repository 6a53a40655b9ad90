// View "Door": who stands before the camera.

import { Problem, formOf, post, sentence } from "./api.js";
import { Camera, boxes, eachFrame } from "./camera.js";
import { DecisionCard, inWords } from "./decision.js";
import { announce, h, icon } from "./dom.js";
import { picked } from "./photo_files.js";
import { message, problemBox, seconds } from "./parts.js";
import { count } from "./words.js";

const BETWEEN = 400;
const CHECK = 30000;
// The service follows the faces before each camera; other tabs have other names.
const CAMERA = `page-${crypto.getRandomValues(new Uint32Array(2)).join("-")}`;
const AGAIN = "Step out of view for a few seconds first.";

export const doorView = { name: "door", title: "Door", open };

function open(root, context) {
  const card = new DecisionCard();
  const notices = h("div", { class: "notices" });
  const trouble = h("div", { class: "trouble" });
  const shown = h("figure", { class: "shown", hidden: true });
  const closing = new AbortController();
  const signal = closing.signal;
  let stopFrames = () => {};
  let said = "";
  let photo = null;

  const camera = new Camera({
    label: "Live image of the camera",
    started: () => {
      release();
      card.idle("Looking …", "Stand before the camera and look into it.");
      stopFrames = eachFrame(camera, judgeFrame);
    },
    stopped: () => {
      stopFrames();
      card.idle("Waiting for a face", "Start the camera, or choose a photo.");
      say("");
    },
  });

  const say = (key, text = "") => {
    if (key !== said) announce(text);
    said = key;
  };

  function present(decision, first = "") {
    card.show(decision, first);
    trouble.replaceChildren();
    const { title, text, kind } = inWords(decision);
    say(`${decision.decision} ${title} ${text}`, `${title}. ${text}`);
    return kind;
  }

  /** Show the decision about the visit, or what is missing for one; returns its kind. */
  function presentVisit({ decision, reasons: [reason] }) {
    if (decision) return present(decision.decision === "no-decision" && reason ? { ...decision, reasons: [reason] } : decision, decision.decision === "reject" ? AGAIN : "");
    const empty = reason?.code === "no-face";
    trouble.replaceChildren();
    card.idle(empty ? "No face in view" : "Checking …", reason ? sentence(reason.advice) : "Hold still: several images are compared.");
    say(empty ? "empty" : "checking", empty ? "No face in view." : "");
    return empty ? "waiting" : "checking";
  }

  async function judgeFrame({ blob, width, height }) {
    try {
      const visit = await post("/v1/watch", formOf([["camera", CAMERA], ["file", blob, "frame.jpg"]]), { signal });
      if (camera.running) camera.mark([{ box: visit.box, kind: presentVisit(visit) }], width, height);
      return BETWEEN;
    } catch (problem) {
      if (!(problem instanceof Problem)) throw problem;
      if (problem.code === "stopped" || problem.status === 401) return BETWEEN;
      camera.mark(null);
      const wait = problem.retryAfter || 2;
      if (problem.code === "locked-out" || problem.status === 429) card.idle("Paused", `Too many attempts. The camera goes on in ${seconds(wait)}.`);
      else if (problem.lost) card.idle("Connection lost", "The camera goes on when the service answers again.");
      else card.idle("No answer", "The service could not judge the image.");
      if (!problem.lost) trouble.replaceChildren(problemBox(problem));
      say(problem.code, problem.message);
      return 1000 * wait;
    }
  }

  async function judgeFile(file) {
    camera.stop();
    release();
    trouble.replaceChildren();
    card.idle("Looking …", file.name);
    photo = await picked(file);
    try {
      const decision = await post("/v1/identify", formOf([["file", photo.blob, "photo"]]), { signal });
      const kind = present(decision);
      if (photo.url) {
        shown.replaceChildren(h("img", { src: photo.url, alt: `Photo ${file.name}` }),
          boxes([{ box: decision.box, kind }], photo.width, photo.height));
        shown.hidden = false;
      }
    } catch (problem) {
      if (!(problem instanceof Problem)) throw problem;
      if (problem.code === "stopped") return;
      card.idle("No answer", "The photo was not judged.");
      trouble.replaceChildren(problemBox(problem));
    }
  }

  function release() {
    photo?.release();
    photo = null;
    shown.hidden = true;
    shown.replaceChildren();
  }

  const input = h("input", { type: "file", id: "door-file", class: "unseen", accept: "image/*", on: { change: () => {
    const [file] = input.files;
    input.value = "";
    if (file) judgeFile(file);
  } } });
  camera.more.append(input, h("label", { for: "door-file", class: "button" }, icon("upload"), "Use a photo"));
  camera.node.querySelector(".stage").append(shown);

  const check = () => notices.replaceChildren(...noticesOf(context));
  check();
  const timer = setInterval(() => context.refresh().then(check).catch(() => {}), CHECK);

  root.append(
    h("header", { class: "view-head unseen" }, h("h1", { tabindex: "-1" }, "Door")),
    notices, h("div", { class: "two" }, camera.node, h("div", { class: "side" }, card.node, trouble)));
  return () => {
    clearInterval(timer);
    stopFrames();
    camera.close();
    closing.abort();
    release();
  };
}

const TELL = "Tell the person who runs this service.";

const HELP = {
  "nobody-enrolled": ["Enrol people", "#enrol"],
  "not-calibrated": ["Calibrate", "#calibration"],
  "settings-changed": ["Calibrate", "#calibration"],
  "needs-photo": ["See people", "#people"],
  "space-changed": ["Change the model", "#calibration"],
};

/** Return messages about what keeps the gallery from working well. */
export function noticesOf({ gallery, admin, drift }) {
  const found = [];
  if (gallery.problem) {
    const { code, text, advice } = gallery.problem;
    const [label, place] = HELP[code] ?? [];
    found.push(message("warning", "Nobody can be recognized at present.", `The reason: ${text}. What to do: ${advice}.`,
      admin ? label && h("p", {}, h("a", { href: place }, label)) : TELL));
  } else if (gallery.drift !== "ok") {
    const again = gallery.drift === "recalibrate";
    const title = again ? "Calibrate again: the promised rate may no longer hold." : "Keep an eye on the door: recent decisions differ from the calibration.";
    found.push(admin && drift ? message("warning", title, sentence(drift.text), h("p", {}, h("a", { href: "#journal" }, "See the details")))
      : again ? message("warning", "The calibration no longer fits this door.", "Strangers may pass more often than promised, and enrolled people may be rejected.", TELL)
        : message("info", "Recent decisions differ from the calibration.", "Look twice at what this page says.", TELL));
  }
  if (gallery.detector === false) {
    found.push(message("warning", "This gallery has no face detector.", "It takes only face crops of 112 × 112 pixels that are aligned already; a camera cannot be used."));
  }
  // Without the scope admin it is a number.
  const waiting = gallery.needs_photo?.length ?? gallery.needs_photo;
  if (waiting) {
    found.push(message("info", `${count(waiting, "person needs", "people need")} a new photo.`, "Until then they cannot be recognized.", admin && h("p", {}, h("a", { href: "#people" }, "See people"))));
  }
  const covered = /^no decisions:|no template of this model/;
  for (const text of (gallery.notices ?? []).filter((each) => !covered.test(each))) found.push(message("info", null, sentence(text)));
  return found;
}
