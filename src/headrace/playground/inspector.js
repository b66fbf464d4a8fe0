/** The streams and what is in them: every record with its time, the frames of each format, and what can be done. */

import { Columns } from "./columns.js";
import { copy, h } from "./dom.js";
import { explain } from "./problems.js";
import { Records } from "./records.js";
import { hasKey, request } from "./session.js";
import { StreamList } from "./stream_list.js";
import { Timeline } from "./timeline.js";

export class Inspector {
  constructor() {
    this.list = new StreamList();
    this.timeline = new Timeline();
    this.records = new Records({ took: (record) => this.took(record), choose: (record) => this.show(record, `record ${record.seq}`) });
    this.columns = new Columns((frame, format) => this.show(frame.data, format));
    this.title = h("h2", { tabindex: "-1", text: "Choose a stream" });
    this.state = h("span", { class: "state" }, h("span", { class: "dot", "aria-hidden": "true" }));
    this.stateText = document.createTextNode("");
    this.state.append(this.stateText);
    this.note = h("p", { class: "note", role: "alert", hidden: true });
    this.stop = h("button", { type: "button", class: "danger", text: "Stop", onclick: () => this.act(`/v1/streams/${this.id}/cancel`, "POST") });
    this.remove = h("button", { type: "button", class: "danger", text: "Delete", onclick: () => this.confirmed() });
    this.curl = h("button", { type: "button", text: "Copy curl", onclick: () => copy(this.curl, this.command()) });
    this.position = h("input", { id: "position", inputmode: "text", placeholder: "n1.0", autocomplete: "off", spellcheck: "false" });
    this.detail = h("pre", { class: "detail", tabindex: "0", role: "region", "aria-label": "The chosen record or frame" }, h("code", { text: "Choose a record or a frame to see it whole." }));
    this.panel = h("div", { class: "panel", hidden: true }, this.head(), this.note, this.timeline.element, this.body());
    this.empty = h("p", { class: "empty muted", text: "Choose a stream to see every record in it." });
    this.element = h("section", { class: "view inspector", "aria-label": "Streams" }, this.list.element, this.empty, this.panel);
  }

  head() {
    const resume = h("form", { class: "resume", "aria-label": "Resume" }, h("label", { for: "position", text: "Read from" }), this.position, h("button", { type: "submit", text: "Resume" }));
    resume.addEventListener("submit", (event) => {
      event.preventDefault();
      this.read(this.position.value.trim());
    });
    return h("header", { class: "panel-head" }, h("a", { class: "back button", href: "#/streams", text: "All streams" }), this.title, this.state,
      h("span", { class: "grow" }), this.stop, this.remove, this.curl, resume);
  }

  body() {
    const pages = { Records: this.records.element, Formats: this.columns.element };
    const tabs = Object.entries(pages).map(([name, page], index) => this.tab(name, page, index));
    this.tabs = tabs;
    this.pages = Object.values(pages);
    this.choose(0, false);
    return h("div", { class: "panel-body" }, h("div", { class: "tabs", role: "tablist", "aria-label": "What to see" }, ...tabs), ...this.pages, this.detail);
  }

  tab(name, page, index) {
    const id = `page-${name.toLowerCase()}`;
    page.id = id;
    page.setAttribute("role", "tabpanel");
    const tab = h("button", { type: "button", role: "tab", "aria-controls": id, text: name, onclick: () => this.choose(index) });
    tab.addEventListener("keydown", (event) => {
      if (event.key === "ArrowRight" || event.key === "ArrowLeft") this.choose(1 - index);
    });
    return tab;
  }

  choose(index, focus = true) {
    this.tabs.forEach((tab, at) => {
      tab.setAttribute("aria-selected", String(at === index));
      tab.tabIndex = at === index ? 0 : -1;
      this.pages[at].hidden = at !== index;
    });
    if (focus) this.tabs[index].focus();
    if (index === 1 && this.id && this.columns.id !== this.id) this.columns.open(this.id);
  }

  /** Shows the list, and the stream of an address `#/streams/ID`. */
  open([id]) {
    this.list.open();
    this.list.mark(id);
    this.element.classList.toggle("chosen", Boolean(id));
    this.panel.hidden = !id;
    this.empty.hidden = Boolean(id);
    if (!id || id === this.id) return;
    this.id = id;
    this.title.textContent = id.slice(0, 8);
    this.title.title = id;
    this.position.value = "";
    this.columns.close();
    this.detail.firstChild.textContent = "Choose a record or a frame to see it whole.";
    this.read("");
    if (this.tabs[1].getAttribute("aria-selected") === "true") this.columns.open(id);
    this.title.focus({ preventScroll: true });
  }

  close() {
    this.list.close();
  }

  unlocked() {
    this.list.load();
    if (this.id) this.read("");
  }

  async read(position) {
    this.aborter?.abort();
    const { signal } = (this.aborter = new AbortController());
    this.timeline.reset();
    this.fail(null);
    this.mark("running");
    try {
      await this.records.read(this.id, { position, signal });
      if (!signal.aborted && !this.records.records.length) this.mark((await request(`/v1/streams/${this.id}`, { signal })).state);
    } catch (error) {
      if (!signal.aborted) this.fail(error);
    }
  }

  took(record) {
    this.timeline.add(record);
    const last = record.events.at(-1)?.type;
    if (["finished", "failed", "cancelled"].includes(last)) this.mark(last);
  }

  mark(state) {
    this.state.dataset.state = state;
    this.stateText.data = state;
    this.stop.hidden = state !== "running";
  }

  fail(error) {
    this.note.hidden = error === null;
    if (error === null) return;
    const { title, text } = explain(error);
    this.mark("failed");
    this.stateText.data = "";
    this.note.replaceChildren(h("strong", { text: title }), ` ${text}`);
  }

  show(value, from) {
    let text = typeof value === "string" ? value : JSON.stringify(value, null, 2);
    if (typeof value === "string") {
      try {
        text = JSON.stringify(JSON.parse(value), null, 2);
      } catch {
        // a marker such as [DONE], or text
      }
    }
    this.detail.firstChild.textContent = text;
    this.detail.setAttribute("aria-label", `The chosen ${from}`);
  }

  async act(path, method) {
    try {
      await request(path, { method });
      return true;
    } catch (error) {
      this.fail(error);
      return false;
    }
  }

  /** Deletes at the second click: what is gone cannot be had back. */
  async confirmed() {
    if (this.remove.dataset.sure !== this.id) {
      this.remove.dataset.sure = this.id;
      this.remove.textContent = "Really delete?";
      setTimeout(() => this.unsure(), 4000);
      return;
    }
    this.unsure();
    const { id } = this;
    if (!(await this.act(`/v1/streams/${id}`, "DELETE"))) return;
    this.aborter?.abort();
    this.list.forget(id);
    this.id = null;
    location.hash = "#/streams";
  }

  unsure() {
    delete this.remove.dataset.sure;
    this.remove.textContent = "Delete";
  }

  command() {
    const key = hasKey() ? ' -H "Authorization: Bearer $HEADRACE_API_KEY"' : "";
    const position = this.position.value.trim();
    const resume = /^[\w.:-]+$/.test(position) ? `&last_event_id=${position}` : "";
    return `curl -N${key} "${location.origin}/v1/streams/${this.id}/events?format=native${resume}"`;
  }
}
