// View "Enrol": a new person, or more photos of one.

import { Problem, formOf, get, post } from "./api.js";
import { Camera, eachFrame } from "./camera.js";
import { announce, h, icon } from "./dom.js";
import { busy, heading, message, problemBox, reasonList } from "./parts.js";
import { MOST, PhotoTray } from "./tray.js";
import { count } from "./words.js";

const BETWEEN = 700;

export const enrolView = { name: "enrol", title: "Enrol", admin: true, open };

function open(root, context, id) {
  const closing = new AbortController();
  let person = null;
  let stopFrames = () => {};
  const head = h("div", {}, heading(id ? "Add photos" : "Enrol a person", id ? " " : "The camera and photos are used to compute numbers that describe the face; by these the person is recognized."));
  const name = h("input", { id: "name", type: "text", autocomplete: "off", maxlength: "100", required: true, "aria-describedby": "name-help" });
  const agreed = h("input", { id: "agreed", type: "checkbox", required: true });
  const outcome = h("div", { class: "trouble" });
  const submit = h("button", { type: "submit", class: "primary wide" }, "Enrol");
  const hint = h("div", { class: "hint-live" }, h("p", {}, "Start the camera to get advice while you take photos."));
  const shutter = h("button", { type: "button", disabled: true, on: { click: take } }, icon("add"), "Take photo");
  const tray = new PhotoTray((number) => {
    shutter.disabled = !camera.running || number >= MOST;
    submit.textContent = number ? `${person ? "Add" : "Enrol with"} ${count(number, "photo")}` : person ? "Add photos" : "Enrol";
  });

  const camera = new Camera({
    label: "Live image of the camera, to take photos",
    started: () => {
      shutter.disabled = tray.photos.length >= MOST;
      stopFrames = eachFrame(camera, advise);
    },
    stopped: () => {
      stopFrames();
      shutter.disabled = true;
      hint.replaceChildren(h("p", {}, "Start the camera to get advice while you take photos."));
    },
  });
  camera.more.append(shutter);

  async function advise({ blob, width, height }) {
    try {
      const { faces } = await post("/v1/detect", formOf([["file", blob, "frame.jpg"]]), { signal: closing.signal });
      if (!camera.running) return BETWEEN;
      const [face] = faces;
      camera.mark(faces.slice(0, 1).map(({ box, reasons }) => ({ box, kind: reasons.length ? "no-decision" : "accept" })), width, height);
      const good = face && !face.reasons.length;
      hint.className = `hint-live ${good ? "good" : face ? "bad" : ""}`;
      hint.replaceChildren(good ? h("p", {}, icon("accept"), "Good: take the photo.")
        : face ? reasonList(face.reasons.slice(0, 2)) : h("p", {}, "No face in view. Look into the camera, with light from the front."));
      return BETWEEN;
    } catch (problem) {
      if (!(problem instanceof Problem)) throw problem;
      if (problem.code === "stopped") return BETWEEN;
      hint.className = "hint-live bad";
      hint.replaceChildren(h("p", {}, problem.message));
      return 1000 * (problem.retryAfter || 2);
    }
  }

  async function take() {
    const frame = await camera.grab();
    if (frame?.blob) tray.addFrame(frame);
    announce(`${count(tray.photos.length, "photo")} taken.`);
  }

  const files = h("input", { type: "file", id: "enrol-file", class: "unseen", accept: "image/*", multiple: true, on: { change: async () => {
    const chosen = [...files.files];
    files.value = "";
    const left = await tray.addFiles(chosen);
    outcome.replaceChildren(...(left ? [message("warning", `${count(left, "photo")} left out.`, `One enrolment takes at most ${MOST} photos. Add the others afterwards.`)] : []));
  } } });

  async function send(event, similar = false) {
    event?.preventDefault();
    outcome.replaceChildren();
    if (!tray.photos.length) return refuse("There is no photo yet.", "Take one with the camera, or choose files.", files);
    if (tray.tooLarge) return refuse("The photos are too large together.", "Remove some of them and add those afterwards.");
    const form = formOf([...(person ? [] : [["name", name.value.trim()]]), ...(similar ? [["allow_similar", "true"]] : []),
      ...tray.photos.map(({ blob }, place) => ["files", blob, `${place + 1}.jpg`])]);
    camera.stop();
    try {
      const result = await busy(submit, () => (person ? post(`/v1/persons/${person.id}/photos`, form, { signal: closing.signal })
        : post("/v1/persons", form, { signal: closing.signal })));
      await context.refresh().catch(() => {});
      done(result);
    } catch (problem) {
      if (!(problem instanceof Problem)) throw problem;
      if (problem.code === "stopped") return;
      failed(problem);
    }
  }

  function refuse(title, advice, focus) {
    outcome.replaceChildren(message("bad", title, advice));
    focus?.focus();
  }

  function done(result) {
    tray.settle();
    tray.results(result.photos);
    form.classList.add("finished");
    for (const each of form.querySelectorAll("input, button")) each.disabled = true;
    const all = result.accepted === result.photos.length;
    const title = all ? `${result.person} is enrolled.` : `${result.person} is enrolled, with ${result.accepted} of ${count(result.photos.length, "photo")}.`;
    const total = `${count(result.total, "photo")} altogether.`;
    outcome.replaceChildren(
      message(all ? "good" : "warning", title, all ? total : `${total} The reasons for the others are beside the photos.`),
      ...alike(result.similar),
      h("div", { class: "buttons start" },
        h("button", { type: "button", class: "primary", on: { click: again } }, person ? "Add more photos" : "Enrol another person"),
        h("a", { class: "button", href: "#door" }, "Try it at the door")));
    announce(title);
    outcome.querySelector("button").focus();
  }

  function again() {
    const place = root.parentNode;
    if (place) dispatchEvent(new HashChangeEvent("hashchange"));
  }

  function failed(problem) {
    const { code, details } = problem;
    if (details?.photos) tray.results(details.photos);
    if (code === "similar-person") {
      outcome.replaceChildren(
        message("warning", "This face resembles somebody who is enrolled. Nothing was enrolled.", ...(details.similar ?? []).map((one) => sentenceOf(one)),
          "Is it the same person? Then add the photos to that person instead. Is it a twin or a relative? Then enrol anyway; the two may be confused."),
        h("div", { class: "buttons start" },
          ...(details.similar ?? []).slice(0, 1).map((one) => h("a", { class: "button", href: `#enrol/${one.person_id}` }, `Add photos to ${one.person}`)),
          h("button", { type: "button", on: { click: () => send(null, true) } }, "It is another person: enrol anyway")));
    } else if (code === "person-exists") {
      outcome.replaceChildren(problemBox(problem), h("p", {}, h("a", { href: "#people" }, "Find the person in the list, and add photos there.")));
      name.focus();
    } else if (code === "no-photo-accepted") {
      outcome.replaceChildren(message("bad", "None of the photos can be used. Nobody was enrolled.", "The reasons are beside the photos. Remove them and take new ones."));
    } else {
      outcome.replaceChildren(problemBox(problem));
    }
  }

  const form = h("form", { class: "enrolment", on: { submit: send } },
    h("div", { class: "two" },
      h("div", {},
        h("div", { class: "card step", hidden: Boolean(id) }, h("h2", {}, h("label", { for: "name" }, "Name of the person")), name,
          h("p", { class: "hint", id: "name-help" }, "It is shown at the door when the person is recognized.")),
        h("div", { class: "card step" }, h("h2", {}, "Camera"), camera.node, hint)),
      h("div", {},
        h("div", { class: "card step" }, h("h2", {}, "Photos"), files,
          h("label", { for: "enrol-file", class: "button" }, icon("upload"), "Choose photo files"), tray.node),
        h("div", { class: "card step" }, h("h2", {}, "Agreement"), ...agreement(context.gallery),
          h("label", { class: "check", for: "agreed" }, agreed, h("span", {}, "The person knows this and has agreed.")), submit),
        outcome)));
  if (id) name.required = false;

  root.append(head, form);
  if (id) {
    get(`/v1/persons/${id}`, { signal: closing.signal }).then((found) => {
      person = found;
      head.replaceChildren(heading(`Add photos of ${found.name}`, `${count(found.photos.length, "photo")} so far.`));
      submit.textContent = "Add photos";
    }).catch((problem) => problem.code === "stopped" || root.replaceChildren(heading("Add photos"), problemBox(problem), h("p", {}, h("a", { href: "#people" }, "See people"))));
  }
  return () => {
    stopFrames();
    camera.close();
    tray.close();
    closing.abort();
  };
}

const sentenceOf = (one) => `${one.text.charAt(0).toUpperCase()}${one.text.slice(1)}.`;

function alike(similar) {
  return similar?.length ? [message("warning", "The person resembles somebody else who is enrolled.", ...similar.map(sentenceOf), "The two may be confused at the door.")] : [];
}

function agreement(gallery) {
  const kept = gallery.crops_kept ? "the name, numbers computed from each photo, and a small image of the face (112 × 112 pixels)" : "the name and numbers computed from each photo; no image";
  return [
    h("p", {}, `Stored, encrypted, on the machine of this service: ${kept}.`),
    h("p", {}, `Each recognition is noted in a journal under a pseudonym, without name or image${gallery.journal_days ? `, for ${count(gallery.journal_days, "day")}` : ""}.`),
    h("p", {}, "To delete everything: People, then Delete. It takes effect at once."),
  ];
}
