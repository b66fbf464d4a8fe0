/** Asks for the API key, which stays in this tab's storage and goes into a header, never into an address. */

import { h } from "./dom.js";
import { hasKey, useKey } from "./session.js";

export class KeyDialog {
  /** `entered` is called when there is another key. */
  constructor(entered) {
    this.input = h("input", { id: "api-key", type: "password", autocomplete: "off", spellcheck: "false" });
    this.message = h("p", { class: "muted", text: "This server asks for a key. It is kept in this tab only." });
    const form = h("form", { method: "dialog" }, h("h2", { id: "key-title", text: "API key" }), this.message,
      h("label", { for: "api-key", text: "API key" }), this.input,
      h("div", { class: "actions" }, h("button", { type: "button", text: "Not now", onclick: () => this.element.close() }), h("button", { type: "submit", class: "primary", text: "Use key" })));
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      if (!this.input.value.trim()) return this.input.focus();
      useKey(this.input.value);
      this.input.value = "";
      this.element.close();
      entered();
    });
    this.element = h("dialog", { class: "key", "aria-labelledby": "key-title" }, form);
    this.button = h("button", { type: "button", class: "quiet", text: "API key", hidden: !hasKey(), onclick: () => this.open() });
  }

  /** Asks; `error` says why, if the server has refused. */
  open(error) {
    this.button.hidden = false;
    if (error && hasKey()) this.message.textContent = `${error.message} It is kept in this tab only.`;
    if (!this.element.open) this.element.showModal();
    this.input.focus();
  }
}
