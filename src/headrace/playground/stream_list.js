/** The caller's streams, newest first, a page at a time; those that run are looked at again while the page is seen. */

import { h } from "./dom.js";
import { bytes, clock, count, duration } from "./format.js";
import { explain } from "./problems.js";
import { request } from "./session.js";

const PAGE = 50;
const REFRESH_MS = 3000;
const STATES = ["running", "finished", "failed", "cancelled"];

export class StreamList {
  constructor() {
    this.filter = h("select", { id: "state-filter" }, h("option", { value: "", text: "All states" }), ...STATES.map((state) => h("option", { value: state, text: state })));
    this.filter.addEventListener("change", () => this.load());
    this.refresh = h("button", { type: "button", text: "Refresh", onclick: () => this.load() });
    this.more = h("button", { type: "button", text: "Older streams", hidden: true, onclick: () => this.load(this.next) });
    this.status = h("p", { class: "muted", role: "status" });
    this.items = h("ul", { class: "streams" });
    this.element = h("nav", { class: "stream-list", "aria-label": "Streams" },
      h("div", { class: "list-head" }, h("h2", { text: "Streams" }), h("label", { class: "hidden", for: "state-filter", text: "State" }), this.filter, this.refresh),
      this.status, this.items, this.more);
    this.rows = new Map();
  }

  open() {
    this.close();
    this.load();
    this.timer = setInterval(() => document.visibilityState === "visible" && this.load(), REFRESH_MS);
  }

  close() {
    clearInterval(this.timer);
  }

  /** Asks for a page: the first, or the one after `before`. */
  async load(before) {
    const state = this.filter.value;
    const query = new URLSearchParams({ limit: PAGE, ...(state && { state }), ...(before && { before }) });
    try {
      const page = await request(`/v1/streams?${query}`);
      if (state === this.filter.value) this.show(page, before);
    } catch (error) {
      const { title, text } = explain(error);
      this.status.textContent = `${title}. ${text}`;
    }
  }

  show(page, before) {
    const old = new Map(this.rows);
    if (this.shown !== this.filter.value) {
      this.older = false;
      this.rows.clear();
    }
    this.shown = this.filter.value;
    if (before) this.older = true;
    else if (!this.older) this.rows.clear(); // with older pages there, the first one only brings what is new
    if (before || !this.older) this.next = page.next;
    for (const row of page.data) this.rows.set(row.id, this.updated(old.get(row.id), row));
    const items = [...this.rows.values()].sort((one, other) => other.created - one.created);
    items.forEach((item, at) => this.items.children[at] !== item.element && this.items.insertBefore(item.element, this.items.children[at] ?? null));
    while (this.items.childElementCount > items.length) this.items.lastElementChild.remove();
    this.more.hidden = !this.next;
    this.status.textContent = items.length ? "" : "No streams here. Ask something in the chat, or call the API.";
    this.mark(this.current);
  }

  updated(item, row) {
    const view = item ?? this.made(row);
    view.dot.dataset.state = row.state;
    view.state.textContent = row.state;
    const lasted = row.ended_ms ? duration(row.ended_ms - row.created_ms) : "running";
    const readers = row.readers ? ` · ${count(row.readers)} reading` : "";
    view.facts.textContent = `${lasted} · ${count(row.position)} records · ${bytes(row.bytes)}${readers}`;
    return view;
  }

  made(row) {
    const dot = h("span", { class: "dot", "aria-hidden": "true" });
    const state = h("span", { class: "hidden" });
    const facts = h("span", { class: "muted" });
    const link = h("a", { href: `#/streams/${row.id}` }, dot, state,
      h("span", { class: "stream-name" }, h("span", { text: row.model }), h("code", { text: row.id.slice(0, 8) })),
      h("time", { text: clock(row.created_ms), datetime: new Date(row.created_ms).toISOString() }), facts);
    return { element: h("li", {}, link), link, dot, state, facts, created: row.created_ms };
  }

  /** Marks the stream that is looked at. */
  mark(id) {
    this.current = id;
    for (const [each, { link }] of this.rows) {
      if (each === id) link.setAttribute("aria-current", "page");
      else link.removeAttribute("aria-current");
    }
  }

  forget(id) {
    this.rows.get(id)?.element.remove();
    this.rows.delete(id);
  }
}
