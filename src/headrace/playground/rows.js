/** A list of any length of which only what is seen is on the page. Rows are as high as the style sheet says. */

import { beforeFrame } from "./frames.js";
import { h } from "./dom.js";

const MORE = 8;
/** Pixels that a browser can scroll through; a longer list scrolls faster. */
const TALLEST = 8_000_000;

export class Rows {
  /** `render(row, index)` gives the cells; `choose(index)` is called for the row that is clicked or entered. */
  constructor({ label, height, render, choose }) {
    this.height = height;
    this.render = render;
    this.choose = choose;
    this.length = 0;
    this.active = -1;
    this.sticks = false;
    this.spacer = h("div", { class: "rows-spacer" });
    this.window = h("div", { class: "rows-window" });
    this.element = h("div", { class: "rows", tabindex: "0", role: "listbox", "aria-label": label }, this.spacer, this.window);
    this.draw = this.draw.bind(this);
    this.element.addEventListener("scroll", () => beforeFrame(this.draw), { passive: true });
    this.element.addEventListener("click", (event) => this.clicked(event));
    this.element.addEventListener("keydown", (event) => this.pressed(event));
    new ResizeObserver(() => beforeFrame(this.draw)).observe(this.element);
  }

  /** There are so many rows now. */
  grow(length) {
    this.length = length;
    beforeFrame(this.draw);
  }

  reset() {
    this.active = -1;
    this.element.scrollTop = 0;
    this.grow(0);
  }

  draw() {
    const full = this.length * this.height;
    const tall = Math.min(full, TALLEST);
    this.spacer.style.height = `${tall}px`;
    const seen = this.element.clientHeight;
    if (this.sticks) this.element.scrollTop = tall;
    const top = this.element.scrollTop;
    // Where the list is taller than a browser can scroll, a scrolled pixel is several.
    const ratio = tall > seen ? (full - seen) / (tall - seen) : 1;
    const first = Math.max(0, Math.floor((top * ratio) / this.height) - MORE);
    const last = Math.min(this.length, Math.ceil((top * ratio + seen) / this.height) + MORE);
    this.window.style.transform = `translateY(${top - (top * ratio - first * this.height)}px)`;
    this.window.replaceChildren(...Array.from({ length: last - first }, (_, at) => this.row(first + at)));
    const active = this.active >= first && this.active < last ? `${this.name()}-${this.active}` : null;
    if (active) this.element.setAttribute("aria-activedescendant", active);
    else this.element.removeAttribute("aria-activedescendant");
  }

  name() {
    return (this.id ??= `rows-${Math.random().toString(36).slice(2, 8)}`);
  }

  row(index) {
    const selected = index === this.active;
    return h("div", {
      class: "row", role: "option", id: `${this.name()}-${index}`, "data-index": index, "aria-selected": String(selected),
      "aria-setsize": this.length, "aria-posinset": index + 1,
    }, ...this.render(index));
  }

  clicked(event) {
    const row = event.target.closest(".row");
    if (row) this.activate(Number(row.dataset.index));
  }

  pressed(event) {
    const page = Math.floor(this.element.clientHeight / this.height);
    const moves = { ArrowDown: 1, ArrowUp: -1, PageDown: page, PageUp: -page, Home: -Infinity, End: Infinity };
    if (!(event.key in moves) || this.length === 0) return;
    event.preventDefault();
    this.activate(Math.min(this.length - 1, Math.max(0, Math.max(0, this.active) + moves[event.key])));
  }

  activate(index) {
    this.active = index;
    this.sticks = false;
    this.reveal(index);
    this.choose(index);
    beforeFrame(this.draw);
  }

  reveal(index) {
    const full = this.length * this.height;
    const seen = this.element.clientHeight;
    const ratio = full > TALLEST ? (full - seen) / (TALLEST - seen) : 1;
    const top = this.element.scrollTop * ratio;
    const at = index * this.height;
    if (at < top) this.element.scrollTop = at / ratio;
    else if (at + this.height > top + seen) this.element.scrollTop = (at + this.height - seen) / ratio;
  }
}
