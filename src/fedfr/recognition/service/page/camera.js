// The camera: choice, refusal explained, frames, and the box over the face.

import { h, icon, s } from "./dom.js";
import { message } from "./parts.js";

const LONGEST = 1280;
const QUALITY = 0.9;

const WHY = {
  NotAllowedError: ["The camera is blocked.", "Allow it for this page in the address bar of the browser, then start it again. You can also use photos instead."],
  NotFoundError: ["No camera was found.", "Connect one and start it again, or use photos instead."],
  NotReadableError: ["The camera is in use.", "Another program uses it. Close that program, then start the camera again."],
  OverconstrainedError: ["This camera is gone.", "Choose another one."],
  insecure: ["The camera is not available.", "Browsers allow it only over HTTPS or on the machine of the service itself. You can use photos instead."],
};

/** A camera with its view and controls; `node` is to be placed, `frames` gives its images. */
export class Camera {
  #stream = null;
  #starting = 0;

  constructor({ label, started = () => {}, stopped = () => {} }) {
    this.started = started;
    this.stopped = stopped;
    this.video = h("video", { playsinline: true, "aria-label": label });
    this.video.muted = true;
    this.overlay = boxes([], 1, 1);
    this.cover = h("div", { class: "cover" });
    this.toggle = h("button", { type: "button", class: "primary", on: { click: () => (this.running ? this.stop() : this.start()) } });
    this.choice = h("select", { id: "camera-choice", on: { change: () => this.start(this.choice.value) } });
    this.chooser = h("div", { class: "choose", hidden: true }, h("label", { for: "camera-choice" }, "Camera"), this.choice);
    this.more = h("div", { class: "more" });
    this.node = h("div", { class: "camera" },
      h("div", { class: "stage" }, h("div", { class: "sight" }, this.video, this.overlay), this.cover),
      h("div", { class: "controls" }, this.toggle,
        this.chooser, this.more));
    this.#show();
    this.#list();
    this.listening = () => this.#list();
    navigator.mediaDevices?.addEventListener("devicechange", this.listening);
  }

  get running() {
    return this.#stream !== null;
  }

  async start(device = this.choice.value) {
    this.stop();
    const turn = ++this.#starting;
    if (!navigator.mediaDevices) return this.#fail("insecure");
    const size = { width: { ideal: LONGEST }, height: { ideal: 720 } };
    try {
      const stream = await navigator.mediaDevices.getUserMedia({
        audio: false,
        video: device ? { deviceId: { exact: device }, ...size } : { facingMode: "user", ...size },
      });
      if (turn !== this.#starting) return stream.getTracks().forEach((track) => track.stop());
      this.#stream = stream;
      this.video.srcObject = stream;
      await this.video.play();
    } catch (error) {
      if (turn === this.#starting) this.#fail(error.name);
      return;
    }
    const [track] = this.#stream.getVideoTracks();
    track.addEventListener("ended", () => this.running && this.#fail("NotFoundError"));
    this.node.classList.toggle("mirrored", track.getSettings().facingMode === "user");
    await this.#list(track.getSettings().deviceId);
    this.#show();
    this.started();
  }

  stop() {
    this.#starting++;
    this.#stream?.getTracks().forEach((track) => track.stop());
    const ran = this.running;
    this.#stream = null;
    this.video.srcObject = null;
    this.mark(null);
    this.#show();
    if (ran) this.stopped();
  }

  close() {
    navigator.mediaDevices?.removeEventListener("devicechange", this.listening);
    this.stopped = () => {};
    this.stop();
  }

  /** Return the present image as JPEG, or null before there is one. */
  async grab() {
    const { videoWidth, videoHeight } = this.video;
    if (!this.running || !videoWidth) return null;
    return shrunk(this.video, videoWidth, videoHeight, LONGEST);
  }

  /** Draw boxes [{box, kind}] given in pixels of an image of this size; null removes them. */
  mark(found, width = 1, height = 1) {
    const drawn = boxes(found ?? [], width, height);
    this.overlay.replaceWith(drawn);
    this.overlay = drawn;
  }

  async #list(current = this.choice.value) {
    const all = (await navigator.mediaDevices?.enumerateDevices().catch(() => [])) ?? [];
    const cameras = all.filter((each) => each.kind === "videoinput" && each.deviceId);
    this.chooser.hidden = cameras.length < 2;
    this.choice.replaceChildren(...(cameras.length ? cameras : [null]).map((each, place) =>
      h("option", { value: each?.deviceId ?? "", selected: each?.deviceId === current }, each?.label || (each ? `Camera ${place + 1}` : "Default camera"))));
  }

  #fail(name) {
    this.stop();
    const [title, advice] = WHY[name] ?? ["The camera does not start.", `The browser says: ${name}. You can use photos instead.`];
    this.cover.replaceChildren(message("warning", title, advice));
  }

  #show() {
    this.node.classList.toggle("running", this.running);
    this.toggle.replaceChildren(icon(this.running ? "stop" : "camera"), this.running ? "Stop camera" : "Start camera");
    this.cover.replaceChildren(icon("camera"), h("p", {}, "The camera is off."));
  }
}

/** Return a layer over an image of this size with boxes [{box, kind}]. */
export function boxes(found, width, height) {
  const drawn = found.filter(({ box }) => box).map(({ box: [x, y, w, tall], kind }) =>
    s("rect", { class: `box ${kind}`, x, y, width: w, height: tall, rx: Math.min(w, tall) / 12 }));
  return s("svg", { class: "overlay", "aria-hidden": "true", viewBox: `0 0 ${width} ${height}` }, drawn);
}

/** Return {blob, width, height}: a source as JPEG, its longest side at most `longest` pixels. */
export async function shrunk(source, width, height, longest) {
  const scale = Math.min(1, longest / Math.max(width, height));
  const canvas = document.createElement("canvas");
  canvas.width = Math.round(width * scale);
  canvas.height = Math.round(height * scale);
  canvas.getContext("2d").drawImage(source, 0, 0, canvas.width, canvas.height);
  const blob = await new Promise((resolve) => canvas.toBlob(resolve, "image/jpeg", QUALITY));
  return { blob, width: canvas.width, height: canvas.height };
}

/** Judge one frame after another, never two at a time; `judge(frame)` returns the milliseconds until the next begins. */
export function eachFrame(camera, judge) {
  let timer = 0;
  let over = false;
  const step = async () => {
    const began = performance.now();
    let wait = 200;
    const frame = document.hidden ? null : await camera.grab();
    if (frame?.blob && !over) wait = await judge(frame);
    if (!over) timer = setTimeout(step, Math.max(50, wait - (performance.now() - began)));
  };
  step();
  return () => {
    over = true;
    clearTimeout(timer);
  };
}
