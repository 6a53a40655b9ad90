// Parts that several views use: messages, reasons, dialogs.

import { h, icon } from "./dom.js";
import { sentence } from "./api.js";

/** Return a message; `kind` is info, good, warning or bad. */
export function message(kind, title, ...more) {
  const shape = { info: "info", good: "accept", warning: "warning", bad: "warning" }[kind];
  return h("div", { class: `message ${kind}`, role: kind === "bad" ? "alert" : null },
    icon(shape), h("div", {}, title && h("p", { class: "title" }, title), ...more.map((part) => (typeof part === "string" ? h("p", {}, part) : part))));
}

/** Return a problem in words, with its request id. */
export function problemBox(problem) {
  const wait = problem.status === 429 && problem.retryAfter ? h("p", {}, `Wait ${seconds(problem.retryAfter)}, then try again.`) : null;
  return message("bad", problem.message, ...fieldsOf(problem), wait, problem.requestId &&
    h("p", { class: "request" }, "Request ", h("code", {}, problem.requestId), " – the log of the service says more under this number."));
}

const fieldsOf = (problem) => (problem.details?.fields ?? []).map((each) => `${each.field}: ${each.message}`);

export const seconds = (number) => (number === 1 ? "1 second" : `${Math.ceil(number)} seconds`);

/** Return reasons with what to do about each. */
export function reasonList(reasons) {
  return h("ul", { class: "reasons" }, reasons.map((reason) =>
    h("li", {}, h("span", { class: "what" }, sentence(reason.text)), " ", h("span", { class: "advice" }, sentence(reason.advice)))));
}

/** Return a chip: a short state with an icon. */
export function chip(kind, text) {
  const shape = { good: "accept", bad: "reject", warning: "warning", neutral: "info" }[kind];
  return h("span", { class: `chip ${kind}` }, icon(shape), text);
}

/** Ask in a dialog; resolves to whether it was confirmed. `content` gets the confirming button. */
export function confirmed({ title, content, action, dangerous = false }) {
  return new Promise((resolve) => {
    const accept = h("button", { type: "button", class: dangerous ? "danger" : "primary", on: { click: () => box.close("yes") } }, action);
    const cancel = h("button", { type: "button", on: { click: () => box.close() } }, "Cancel");
    const box = h("dialog", { "aria-labelledby": "dialog-title" },
      h("h2", { id: "dialog-title" }, title), content(accept), h("div", { class: "buttons" }, cancel, accept));
    box.addEventListener("close", () => {
      box.remove();
      resolve(box.returnValue === "yes");
    });
    document.body.append(box);
    box.showModal();
  });
}

/** Return a heading that gets the focus when the view is opened. */
export function heading(title, intro) {
  return h("header", { class: "view-head" }, h("h1", { tabindex: "-1" }, title), intro && h("p", { class: "intro" }, intro));
}

/** While `work` runs, disable a button and show that it works. */
export async function busy(button, work) {
  button.disabled = true;
  button.classList.add("busy");
  try {
    return await work();
  } finally {
    button.disabled = false;
    button.classList.remove("busy");
  }
}
