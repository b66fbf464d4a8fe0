/** A stream's records as they come: a list of any length, with what each one says. */

import { h } from "./dom.js";
import { inWords } from "./events.js";
import { follow } from "./feed.js";
import { count } from "./format.js";
import { Rows } from "./rows.js";

const ROW = 26;

export class Records {
  /** `took(record)` is called for each, `choose(record)` for the one that is chosen. */
  constructor({ took, choose }) {
    this.took = took;
    this.records = [];
    this.count = h("span", { class: "muted" });
    this.followBox = h("input", { type: "checkbox", checked: true });
    this.followBox.addEventListener("change", () => this.stick());
    this.rows = new Rows({ label: "Records", height: ROW, render: (index) => this.cells(index), choose: (index) => {
      this.followBox.checked = false;
      choose(this.records[index]);
    } });
    this.element = h("section", { class: "records", "aria-label": "Records" },
      h("header", {}, h("h3", { text: "Records" }), this.count, h("span", { class: "grow" }), h("label", { class: "chip" }, this.followBox, "Follow")),
      h("div", { class: "row head", "aria-hidden": "true" }, ...["seq", "time", "gap", "says"].map((text) => h("span", { text, class: text === "says" ? "preview" : "number" }))),
      this.rows.element);
  }

  stick() {
    this.rows.sticks = this.followBox.checked;
    this.rows.grow(this.records.length);
  }

  /** Reads a stream from a position on; resolves at its end. */
  async read(id, { position, signal }) {
    this.records = [];
    this.rows.reset();
    this.stick();
    this.count.textContent = "";
    await follow(id, "native", { position, signal, take: (frames) => this.take(frames) });
  }

  take(frames) {
    const records = frames.map(({ data }) => JSON.parse(data)); // all or none: what makes no sense is read again
    for (const record of records) {
      this.records.push(record);
      this.took(record);
    }
    this.count.textContent = count(this.records.length);
    this.rows.grow(this.records.length);
  }

  cells(index) {
    const record = this.records[index];
    const before = this.records[index - 1];
    const since = record.at_ms - this.records[0].at_ms;
    const gap = before ? record.at_ms - before.at_ms : 0;
    return [
      h("span", { class: "number", text: String(record.seq) }),
      h("span", { class: "number", text: (since / 1000).toFixed(3) }),
      h("span", { class: "number", text: gap ? `+${gap}` : "·" }),
      h("span", { class: "preview" }, ...record.events.map(said)),
    ];
  }
}

function said(event) {
  const [type, detail] = inWords(event);
  return h("span", { class: "said" }, h("span", { class: "event", text: type }), ` ${detail.slice(0, 160)} `);
}
