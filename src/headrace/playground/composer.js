/** Where a question is written. What is typed is kept with every key, and only gone once it was sent. */

import { h } from "./dom.js";
import { keep, kept } from "./storage.js";

const SETTINGS = [
  ["max_tokens", "Longest answer, in tokens", { type: "number", min: 1, step: 1, inputmode: "numeric" }],
  ["temperature", "Temperature", { type: "number", min: 0, max: 2, step: 0.1, inputmode: "decimal" }],
];

export class Composer {
  /** `send` gets the text and the settings; `stop` ends the answer under way. */
  constructor({ picker, send, stop }) {
    this.send = send;
    this.picker = picker;
    this.text = h("textarea", { id: "message", rows: 1, placeholder: "Ask anything", enterkeyhint: "send", autocomplete: "off" });
    this.text.value = kept("draft", "");
    this.sendButton = h("button", { type: "submit", class: "primary", text: "Send" });
    this.stopButton = h("button", { type: "button", class: "danger", text: "Stop", hidden: true, onclick: stop });
    this.fields = Object.fromEntries(SETTINGS.map(([name, , attributes]) => [name, h("input", { id: `setting-${name}`, ...attributes })]));
    this.system = h("textarea", { id: "setting-system", rows: 2 });
    this.element = h("form", { class: "composer", "aria-label": "Ask" },
      h("label", { class: "hidden", for: "message", text: "Message" }), this.text,
      h("div", { class: "composer-bar" }, picker.element, this.settings(), h("span", { class: "grow" }), this.stopButton, this.sendButton));
    this.element.addEventListener("submit", (event) => {
      event.preventDefault();
      this.submit();
    });
    this.text.addEventListener("input", () => this.changed());
    this.text.addEventListener("keydown", (event) => this.pressed(event));
    this.busy = false;
    this.restore();
    queueMicrotask(() => this.changed());
  }

  settings() {
    const rows = SETTINGS.map(([name, label]) => h("div", { class: "field" }, h("label", { for: `setting-${name}`, text: label }), this.fields[name]));
    const system = h("div", { class: "field" }, h("label", { for: "setting-system", text: "System prompt" }), this.system);
    const panel = h("details", { class: "settings" }, h("summary", { text: "Settings" }), h("div", { class: "popover" }, ...rows, system));
    panel.addEventListener("change", () => keep("settings", this.values()));
    panel.addEventListener("keydown", (event) => {
      if (event.key !== "Escape") return;
      panel.open = false;
      panel.querySelector("summary").focus();
    });
    return panel;
  }

  restore() {
    const values = kept("settings", {});
    for (const [name, field] of Object.entries(this.fields)) field.value = values[name] ?? "";
    this.system.value = values.system ?? "";
  }

  values() {
    const values = {};
    for (const [name, field] of Object.entries(this.fields)) {
      if (field.value !== "" && field.validity.valid) values[name] = field.valueAsNumber;
    }
    if (this.system.value.trim()) values.system = this.system.value.trim();
    return values;
  }

  pressed(event) {
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    this.submit();
  }

  changed() {
    keep("draft", this.text.value || null);
    this.text.style.height = "auto";
    this.text.style.height = `${Math.min(this.text.scrollHeight, 220)}px`;
    this.update();
  }

  update() {
    this.sendButton.disabled = this.busy || this.text.value.trim() === "";
    this.sendButton.hidden = this.busy;
    this.stopButton.hidden = !this.busy;
  }

  submit() {
    const text = this.text.value.trim();
    if (this.busy || text === "" || this.picker.demand()) return;
    this.text.value = "";
    this.changed();
    this.send(text, this.values());
  }

  /** While an answer is under way there is Stop in place of Send. */
  setBusy(busy) {
    const focused = document.activeElement === this.stopButton || document.activeElement === this.sendButton;
    this.busy = busy;
    this.update();
    if (focused) (busy ? this.stopButton : this.text).focus();
  }
}
