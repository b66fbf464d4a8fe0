/** Light, dark, or as the system has it; kept for other visits, as it says nothing about anybody. */

import { h } from "./dom.js";

const NAME = "headrace.theme";
const THEMES = { system: "light dark", light: "light", dark: "dark" };

export class ThemeButton {
  constructor() {
    this.element = h("button", { type: "button", class: "quiet", onclick: () => this.next() });
    this.use(stored());
  }

  next() {
    const names = Object.keys(THEMES);
    this.use(names[(names.indexOf(this.name) + 1) % names.length]);
  }

  use(name) {
    this.name = name;
    document.documentElement.style.colorScheme = THEMES[name];
    this.element.textContent = { system: "Auto", light: "Light", dark: "Dark" }[name];
    this.element.setAttribute("aria-label", `Theme: ${name}`);
    try {
      localStorage.setItem(NAME, name);
    } catch {
      // switched off: it holds until the page is left
    }
    document.dispatchEvent(new Event("themechange"));
  }
}

function stored() {
  try {
    const name = localStorage.getItem(NAME);
    return name in THEMES ? name : "system";
  } catch {
    return "system";
  }
}
