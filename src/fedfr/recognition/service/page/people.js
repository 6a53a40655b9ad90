// View "People": who is enrolled, and deletion.

import { Problem, get, remove } from "./api.js";
import { announce, h, icon } from "./dom.js";
import { busy, chip, confirmed, heading, message, problemBox } from "./parts.js";
import { count, localDay } from "./words.js";

const FILTER_FROM = 8;

export const peopleView = { name: "people", title: "People", admin: true, open };

function open(root, context) {
  const closing = new AbortController();
  const result = h("div", { class: "trouble", tabindex: "-1" });
  const list = h("ul", { class: "people-list", "aria-label": "Enrolled people" });
  const filter = h("input", { id: "filter", type: "search", autocomplete: "off", on: { input: show } });
  const filtering = h("div", { class: "filter", hidden: true }, h("label", { for: "filter" }, "Find a name"), filter);
  const number = h("p", { class: "intro" }, " ");
  let people = [];

  async function load() {
    try {
      ({ persons: people } = await get("/v1/persons", { signal: closing.signal }));
      people.sort((one, other) => one.name.localeCompare(other.name));
      filtering.hidden = people.length < FILTER_FROM;
      show();
    } catch (problem) {
      if (!(problem instanceof Problem)) throw problem;
      if (problem.code !== "stopped") result.replaceChildren(problemBox(problem), h("button", { type: "button", on: { click: load } }, "Try again"));
    }
  }

  function show() {
    const wanted = filter.value.trim().toLocaleLowerCase();
    const found = people.filter((person) => person.name.toLocaleLowerCase().includes(wanted));
    number.textContent = people.length ? `${count(people.length, "person is", "people are")} enrolled.` : "Nobody is enrolled yet.";
    list.replaceChildren(...found.map(row), ...(people.length && !found.length ? [h("li", { class: "none" }, "Nobody has such a name.")] : []));
    if (!people.length) list.replaceChildren(h("li", { class: "none" }, h("a", { href: "#enrol", class: "button primary" }, icon("enrol"), "Enrol a person")));
  }

  function row(person) {
    const waiting = context.gallery.needs_photo?.includes(person.id);
    return h("li", { class: "person" },
      h("div", { class: "initials", "aria-hidden": "true" }, initials(person.name)),
      h("div", { class: "about" }, h("p", { class: "name" }, person.name),
        h("p", { class: "detail" }, `${count(person.photos.length, "photo")}, enrolled ${localDay(person.added)}`)),
      waiting ? chip("warning", "Needs a new photo") : chip("good", "Can be recognized"),
      h("div", { class: "actions" },
        h("a", { class: "button", href: `#enrol/${person.id}`, "aria-label": `Add photos of ${person.name}` }, icon("add"), "Add photos"),
        h("button", { type: "button", class: "danger quiet", "aria-label": `Delete ${person.name}`, on: { click: (event) => erase(person, event.currentTarget) } }, icon("trash"), "Delete")));
  }

  async function erase(person, button) {
    if (!(await confirmed({ title: `Delete ${person.name}?`, action: "Delete for ever", dangerous: true, content: (accept) => question(person, accept) }))) return button.focus();
    try {
      const removal = await busy(button, () => remove(`/v1/persons/${person.id}`, { signal: closing.signal }));
      await context.refresh().catch(() => {});
      result.replaceChildren(
        message("good", `${person.name} is deleted.`, `${count(removal.photos, "photo")} and the key to them are destroyed; the journal has no name for this person any more.`,
          h("p", {}, "Not deleted: what a federation has learned from the person’s photos, photos in other places, and backups of this gallery. ",
            "A new key makes backups unreadable: ", h("code", {}, "fedfr gallery rekey"), ".")),
        ...(removal.cleared === false ? [message("warning", "Traces may remain in the files of the database.", "Another program uses the gallery. The next change of the gallery clears them.")] : []));
      announce(`${person.name} is deleted.`);
      await load();
      result.focus();
    } catch (problem) {
      if (!(problem instanceof Problem)) throw problem;
      if (problem.code !== "stopped") result.replaceChildren(problemBox(problem));
    }
  }

  root.append(h("header", { class: "view-head with-action" }, h("div", {}, h("h1", { tabindex: "-1" }, "People"), number),
    h("a", { class: "button primary", href: "#enrol" }, icon("enrol"), "Enrol a person")), result, filtering, list);
  load();
  return () => closing.abort();
}

/** Ask for the name, so that nobody is deleted by a slip of the hand. */
function question(person, accept) {
  accept.disabled = true;
  const matches = (text) => text.trim().toLocaleLowerCase() === person.name.trim().toLocaleLowerCase();
  const input = h("input", { id: "confirm-name", type: "text", autocomplete: "off", spellcheck: "false", on: {
    input: () => (accept.disabled = !matches(input.value)),
    keydown: (event) => {
      if (event.key === "Enter" && !accept.disabled) accept.click();
    },
  } });
  return h("div", { class: "question" }, h("p", {}, `The name, ${count(person.photos.length, "photo")} and the thresholds of this person are destroyed. This cannot be undone.`),
    h("label", { for: "confirm-name" }, "Type the name ", h("strong", {}, person.name), " to confirm"), input);
}

function initials(name) {
  const parts = name.trim().split(/\s+/);
  return [parts[0], parts.length > 1 ? parts.at(-1) : ""].map((part) => [...part][0] ?? "").join("").toLocaleUpperCase();
}
