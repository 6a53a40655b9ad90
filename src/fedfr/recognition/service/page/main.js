// Start of the page: sign-in, navigation, state of the gallery, and the connection.

import { Problem, get, token, watchers } from "./api.js";
import { calibrationView } from "./calibration.js";
import { doorView } from "./door.js";
import { announce, h, icon } from "./dom.js";
import { enrolView } from "./enrol.js";
import { journalView } from "./journal.js";
import { message, problemBox, seconds } from "./parts.js";
import { peopleView } from "./people.js";
import { signIn } from "./signin.js";

const VIEWS = [doorView, enrolView, peopleView, calibrationView, journalView];
const main = document.getElementById("content");
const context = {
  gallery: null,
  admin: false,
  drift: null,
  /** Read the state of the gallery again. */
  async refresh() {
    const gallery = await get("/v1/gallery");
    Object.assign(context, { gallery, admin: gallery.scope === "admin" });
    if (context.admin) context.drift = await get("/v1/drift").catch(() => null);
    showAccount();
    return gallery;
  },
  go: (hash) => (location.hash = hash),
};
let close = () => {};
let asking = false;

async function start(focused = false) {
  asking = false;
  try {
    await context.refresh();
    await open(!focused);
  } catch (problem) {
    if (!(problem instanceof Problem)) throw problem;
    if (problem.status === 401) return;
    const wait = problem.code === "starting" || problem.lost ? Math.max(1, problem.retryAfter || 2) : 0;
    replace(h("section", {}, h("h1", { tabindex: "-1" }, problem.code === "starting" ? "The gallery is being opened" : "Not available"),
      problem.code === "starting" ? h("p", {}, "This takes a moment.") : problemBox(problem),
      wait ? h("p", { class: "hint" }, `Next attempt in ${seconds(wait)}.`)
        : h("button", { type: "button", class: "primary", on: { click: () => start(true) } }, "Try again")));
    if (wait) setTimeout(start, wait * 1000);
  }
}

function replace(...nodes) {
  close();
  close = () => {};
  main.replaceChildren(...nodes);
  document.body.classList.remove("starting");
}

async function open(first = false) {
  if (asking || !context.gallery) return;
  const [name, argument] = location.hash.slice(1).split("/");
  const allowed = VIEWS.filter((view) => context.admin || !view.admin);
  const view = allowed.find((each) => each.name === name) ?? allowed[0];
  showViews(allowed, view);
  document.title = `${view.title} – ${context.gallery.gallery}`;
  const root = h("section", { class: `view ${view.name}` });
  replace(root);
  const closing = view.open(root, context, argument);
  close = typeof closing === "function" ? closing : () => {};
  scrollTo(0, 0);
  if (!first) root.querySelector("h1")?.focus({ preventScroll: true });
}

function showViews(allowed, current) {
  const bar = document.getElementById("views");
  bar.hidden = false;
  bar.replaceChildren(...allowed.map((view) =>
    h("a", { href: `#${view.name}`, "aria-current": view === current ? "page" : null }, icon(view.name), h("span", {}, view.title))));
}

function showAccount() {
  const { gallery, admin } = context;
  document.getElementById("gallery-name").textContent = gallery.gallery;
  if (gallery.liveness) {
    document.getElementById("liveness").replaceChildren(h("strong", {}, "A check for a living person is in use: ", h("code", {}, gallery.liveness), "."),
      " It comes from another package; how well it works is for you to find out.");
  }
  const scope = admin ? "Administrator" : "Door only";
  const means = admin ? "You may recognize people, enrol and delete them, calibrate, and read the journal."
    : "You may recognize people and see the calibration. Enrolling, deleting and the journal need a token of the scope admin.";
  document.getElementById("account").replaceChildren(
    h("span", { class: "scope", title: means }, scope, h("span", { class: "unseen" }, `. ${means}`)),
    ...(token.get() ? [h("button", { type: "button", class: "quiet", id: "sign-out", on: { click: signOut } }, "Sign out")] : []));
}

function signOut() {
  token.clear();
  location.hash = "";
  location.reload();
}

watchers.refused = (problem) => {
  if (asking) return;
  asking = true;
  const wrong = Boolean(token.get());
  token.clear();
  document.getElementById("views").hidden = true;
  document.getElementById("account").replaceChildren();
  document.title = "Sign in";
  replace(signIn(wrong ? problem : null, () => start(true)));
  main.querySelector("input").focus();
};

let lost = false;
watchers.connected = (connected) => {
  if (connected !== lost) return;
  lost = !connected;
  const place = document.getElementById("connection");
  place.replaceChildren(...(lost ? [message("bad", "Connection lost.", "The service cannot be reached. This page tries again by itself.")] : []));
  if (lost) look();
  else announce("Connected again.");
};

function look() {
  setTimeout(() => lost && get("/v1/health").catch(look), 2000);
}

document.getElementById("skip").addEventListener("click", () => main.focus());
addEventListener("hashchange", () => open());
start();
