// View "Journal": recent decisions under pseudonyms, and whether they agree with the calibration.

import { Problem, get, sentence } from "./api.js";
import { h, icon } from "./dom.js";
import { busy, chip, heading, message, problemBox } from "./parts.js";
import { localTime, score } from "./words.js";

const LATEST = 500;

const OUTCOMES = {
  accept: ["good", "Accepted"],
  reject: ["bad", "Not recognized"],
  "no-decision": ["neutral", "No decision"],
  done: ["good", "Done"],
  partial: ["warning", "Partly done"],
  refused: ["bad", "Refused"],
};
const KINDS = {
  identify: "Recognition", verify: "Check of one person", enrol: "Enrolment", remove: "Deletion", rename: "New name", calibrate: "Calibration",
  recalibrate: "Calibration", rebuild: "Rebuild for a new model", switch: "Change to a new model", rekey: "New key", export: "Export", settings: "Settings",
};
const LEVELS = {
  ok: ["good", "Recent decisions agree with the calibration."],
  watch: ["warning", "Recent decisions differ from the calibration. Keep an eye on it."],
  recalibrate: ["bad", "Calibrate again: the promised rate may no longer hold."],
};
const SHOWN = {
  all: ["Everything", () => true],
  accept: ["Accepted", (entry) => entry.outcome === "accept"],
  reject: ["Not recognized", (entry) => entry.outcome === "reject"],
  "no-decision": ["No decision", (entry) => entry.outcome === "no-decision"],
  changes: ["Changes of the gallery", (entry) => !["identify", "verify"].includes(entry.kind)],
};

export const journalView = { name: "journal", title: "Journal", admin: true, open };

function open(root, context) {
  const closing = new AbortController();
  const state = h("div", { class: "drift" });
  const rows = h("tbody", {});
  const trouble = h("div", { class: "trouble" });
  const none = h("p", { class: "none", hidden: true }, "No entries.");
  const table = h("table", { class: "entries" }, h("caption", { class: "unseen" }, "Journal, newest first"),
    h("thead", {}, h("tr", {}, ["Time", "What", "Outcome", "Person", "Score", "Reason"].map((title) => h("th", { scope: "col" }, title)))), rows);
  const choice = h("select", { id: "shown", on: { change: show } }, Object.entries(SHOWN).map(([value, [title]]) => h("option", { value }, title)));
  const again = h("button", { type: "button", on: { click: () => busy(again, load) } }, "Refresh");
  let entries = [];

  async function load() {
    trouble.replaceChildren();
    try {
      const options = { signal: closing.signal };
      const [journal, drift] = await Promise.all([get(`/v1/journal?limit=${LATEST}`, options), get("/v1/drift", options).catch((problem) => problem)]);
      entries = journal.entries;
      state.replaceChildren(...checked(journal.check), drift instanceof Error ? problemBox(drift) : drifted(drift));
      show();
    } catch (problem) {
      if (!(problem instanceof Problem)) throw problem;
      if (problem.code !== "stopped") trouble.replaceChildren(problemBox(problem));
    }
  }

  function show() {
    const found = entries.filter(SHOWN[choice.value][1]);
    rows.replaceChildren(...found.map(row));
    none.hidden = found.length > 0;
    table.hidden = found.length === 0;
  }

  const days = context.gallery.journal_days;
  root.append(heading("Journal", `People have pseudonyms here; names and images are not in the journal. ${days ? `Entries are deleted after ${days} days.` : "Entries are kept without limit."}`),
    state, h("div", { class: "filter" }, h("label", { for: "shown" }, "Show"), choice, again), trouble, none, table,
    h("p", { class: "hint" }, `The latest ${LATEST} entries. Scores are rounded.`));
  load();
  return () => closing.abort();
}

function row(entry) {
  const [kind, outcome] = OUTCOMES[entry.outcome] ?? ["neutral", entry.outcome];
  const reached = score(entry.score);
  const compared = entry.score === null || entry.threshold === null ? reached : `${reached} (needed ${score(entry.threshold)})`;
  const cells = [
    ["Time", localTime(entry.time)], ["What", KINDS[entry.kind] ?? entry.kind], ["Outcome", chip(kind, outcome)],
    ["Person", entry.person ? h("code", {}, entry.person) : "–"], ["Score", compared], ["Reason", entry.reasons.length ? entry.reasons.map(readable).join(", ") : "–"],
  ];
  return h("tr", {}, cells.map(([title, content]) => h("td", { "data-title": title, class: content === "–" ? "blank" : null }, content)));
}

/** Return a reason code as words; the codes are words joined by dashes. */
const readable = (code) => code.replaceAll("-", " ");

/** Return a warning if an entry was changed, removed or inserted; the entries shown are then those before it. */
const checked = (check) => check.wrong === null ? []
  : [message("bad", "The journal was changed.", sentence(check.text), "Entries from this one on are not shown. Restore the gallery from a copy.")];

function drifted(drift) {
  const [kind, title] = LEVELS[drift.level] ?? ["info", drift.level];
  const findings = (drift.findings ?? []).map((finding) => h("li", {}, icon(finding.level === "ok" ? "info" : "warning"), sentence(finding.text)));
  const text = drift.level === "ok" && !findings.length ? null : drift.text;
  if (drift.level === "ok" && !drift.decisions) return message("info", "Not enough decisions yet to compare them with the calibration.", sentence(drift.text));
  return message(kind, title, text && drift.level !== "ok" ? sentence(text) : null, findings.length ? h("details", {}, h("summary", {}, "Details"), h("ul", { class: "findings" }, findings)) : null);
}
