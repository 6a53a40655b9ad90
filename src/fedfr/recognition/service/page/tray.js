// Photos chosen for an enrolment, each with what the service says about it.

import { Problem, formOf, post, sentence } from "./api.js";
import { h, icon } from "./dom.js";
import { chip, reasonList } from "./parts.js";
import { picked, shownPhoto } from "./photo_files.js";

export const MOST = 20;
const MOST_BYTES = 60 << 20;

/** Photos in the order of choice; `changed` is called when their number changes. */
export class PhotoTray {
  #queue = Promise.resolve();
  #closing = new AbortController();

  constructor(changed) {
    this.photos = [];
    this.taken = 0;
    this.changed = changed;
    this.list = h("ul", { class: "tray", "aria-label": "Chosen photos" });
    this.empty = h("p", { class: "hint empty" }, "No photos yet. Three to five are best: straight ahead, slightly to both sides, with and without glasses.");
    this.node = h("div", {}, this.list, this.empty);
  }

  /** Add files; returns how many did not fit. */
  async addFiles(files) {
    const fitting = [...files].slice(0, MOST - this.photos.length);
    for (const file of fitting) this.#add(await picked(file), file.name);
    return files.length - fitting.length;
  }

  addFrame(frame) {
    if (this.photos.length < MOST) this.#add(shownPhoto(frame), `Camera ${++this.taken}`);
  }

  get tooLarge() {
    return this.photos.reduce((sum, photo) => sum + photo.blob.size, 0) > MOST_BYTES;
  }

  /** Show the results of an enrolment, in the order of the photos. */
  results(results) {
    results.forEach((result, place) => this.photos[place] && this.#say(this.photos[place], result.accepted ? "good" : "bad", result.accepted ? "Enrolled" : "Not enrolled", result.reasons));
    this.node.classList.add("done");
  }

  close() {
    this.#closing.abort();
    this.photos.forEach((photo) => photo.release());
    this.photos = [];
  }

  #add(photo, name) {
    const state = h("div", { class: "state" });
    const remove = h("button", { type: "button", class: "quiet remove", "aria-label": `Remove ${name}`, on: { click: () => this.#remove(entry) } }, icon("reject"));
    const image = photo.url ? h("img", { src: photo.url, alt: "" }) : h("div", { class: "no-preview" }, "no preview");
    const item = h("li", {}, h("div", { class: "thumb" }, image), h("div", { class: "about" }, h("span", { class: "name" }, name), state), remove);
    const entry = { ...photo, name, state, item };
    this.photos.push(entry);
    this.list.append(item);
    state.append(chip("neutral", "Checking …"));
    this.#queue = this.#queue.then(() => this.#check(entry));
    this.#update();
  }

  #remove(entry) {
    const place = this.photos.indexOf(entry);
    this.photos.splice(place, 1);
    entry.release();
    entry.item.remove();
    this.#update();
    (this.list.children[Math.min(place, this.photos.length - 1)]?.querySelector("button") ?? document.getElementById("enrol-file"))?.focus();
  }

  async #check(entry) {
    if (!this.photos.includes(entry)) return;
    try {
      const { faces } = await post("/v1/detect", formOf([["file", entry.blob, "photo"]]), { signal: this.#closing.signal });
      if (entry.settled) return;
      if (!faces.length) this.#say(entry, "bad", "No face found", [{ text: "there is no face in this photo", advice: "face the camera, with light from the front" }]);
      else if (faces[0].reasons.length) this.#say(entry, "bad", "Not good enough", faces[0].reasons);
      else this.#say(entry, "good", "Good", []);
    } catch (problem) {
      if (!(problem instanceof Problem)) throw problem;
      if (problem.code === "stopped" || entry.settled) return;
      entry.state.replaceChildren(chip("warning", "Not checked"), h("p", { class: "advice" }, sentence(problem.message)));
    }
  }

  #say(entry, kind, text, reasons) {
    entry.state.replaceChildren(chip(kind, text), reasons.length ? reasonList(reasons) : "");
  }

  settle() {
    this.photos.forEach((photo) => (photo.settled = true));
  }

  #update() {
    this.empty.hidden = this.photos.length > 0;
    this.changed(this.photos.length);
  }
}
