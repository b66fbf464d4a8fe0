/**
 * The models that the server has, in a select; what was chosen stays chosen over a reload.
 *
 * A server that takes any name (`model_name: "*"`) lists none: then the name is typed.
 */

import { h } from "./dom.js";
import { keep, kept } from "./storage.js";
import { request } from "./session.js";

export class ModelPicker {
  constructor(id) {
    this.select = h("select", { id, "aria-label": "Model" });
    this.name = h("input", {
      "aria-label": "Model", class: "model-name", hidden: true, autocomplete: "off", spellcheck: "false",
      placeholder: "Name of a model",
    });
    this.element = h("span", { class: "model" }, this.select, this.name);
    this.element.addEventListener("change", () => keep("model", this.value));
  }

  get value() {
    return (this.name.hidden ? this.select.value : this.name.value).trim();
  }

  /** Puts the cursor where the name is missing; says whether it is. */
  demand() {
    if (this.value) return false;
    this.name.focus();
    return true;
  }

  /** Asks the server; throws what it says. */
  async load() {
    const { data } = await request("/v1/models");
    const names = data.map((model) => model.id);
    const chosen = kept("model") ?? names[0] ?? "";
    this.select.hidden = names.length === 0;
    this.name.hidden = names.length > 0;
    this.name.value ||= chosen;
    this.select.replaceChildren(...names.map((name) => h("option", { value: name, text: name })));
    if (names.includes(chosen)) this.select.value = chosen;
    return names;
  }
}
