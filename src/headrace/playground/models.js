/** The models that the server has, in a select; what was chosen stays chosen over a reload. */

import { h } from "./dom.js";
import { keep, kept } from "./storage.js";
import { request } from "./session.js";

export class ModelPicker {
  constructor(id) {
    this.element = h("select", { id, "aria-label": "Model" });
    this.element.addEventListener("change", () => keep("model", this.value));
  }

  get value() {
    return this.element.value;
  }

  /** Asks the server; throws what it says. */
  async load() {
    const { data } = await request("/v1/models");
    const names = data.map((model) => model.id);
    const chosen = kept("model") ?? names[0];
    this.element.replaceChildren(...names.map((name) => h("option", { value: name, text: name })));
    if (names.includes(chosen)) this.element.value = chosen;
    return names;
  }
}
