// Sign-in with a token.

import { token } from "./api.js";
import { h } from "./dom.js";
import { problemBox } from "./parts.js";

/** Return the form; `start` is called when a token was given. `problem` is why an earlier one was refused. */
export function signIn(problem, start) {
  const input = h("input", { id: "token", type: "password", autocomplete: "off", spellcheck: "false", required: true, "aria-describedby": "token-help" });
  const submit = (event) => {
    event.preventDefault();
    const text = input.value.trim();
    if (!text) return input.focus();
    if (!/^[\x21-\x7e]+$/.test(text)) {
      input.setCustomValidity("A token has letters, digits, dashes and underscores only.");
      return input.reportValidity();
    }
    token.set(text);
    start();
  };
  return h("section", { class: "sign-in card" },
    h("h1", { tabindex: "-1" }, "Sign in"),
    h("p", {}, "This service needs an access token. Ask the person who runs it."),
    problem && problemBox(problem),
    h("form", { on: { submit } },
      h("label", { for: "token" }, "Access token"), input,
      h("p", { class: "hint", id: "token-help" }, "It begins with “fedfr_”. It stays in this tab and is forgotten when the tab is closed."),
      h("button", { type: "submit", class: "primary" }, "Sign in")),
    h("dl", { class: "scopes" },
      h("dt", {}, "Scope door"), h("dd", {}, "recognize people, see the calibration"),
      h("dt", {}, "Scope admin"), h("dd", {}, "also enrol and delete people, calibrate, read the journal")));
}
