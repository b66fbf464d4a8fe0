/** A stream's frames in several formats, one beside the other. */

import { h } from "./dom.js";
import { count } from "./format.js";
import { inWords } from "./events.js";
import { follow } from "./feed.js";
import { formats } from "./formats.js";
import { explain } from "./problems.js";
import { Rows } from "./rows.js";
import { keep, kept } from "./storage.js";

const ROW = 26;
/** Characters of a frame that are looked into for a line of it, and that the line has. */
const LONGEST_PARSED = 20_000;
const LONGEST_SHOWN = 300;
const FIRST_SHOWN = ["native", "openai.chat"];

class Column {
  constructor(format, choose) {
    this.format = format;
    this.frames = [];
    this.count = h("span", { class: "muted", text: "0 frames" });
    this.note = h("p", { class: "note", hidden: true });
    this.rows = new Rows({ label: `Frames of ${format}`, height: ROW, render: (index) => this.cells(index), choose: (index) => choose(this.frames[index], format) });
    this.element = h("section", { class: "format", "aria-label": format }, h("header", {}, h("h3", { text: format }), this.count), this.note, this.rows.element);
  }

  cells(index) {
    const { event, data, id } = this.frames[index];
    const name = event ? h("span", { class: "event", text: event }) : null;
    return [h("span", { class: "number", text: id.split(".").at(-1) || String(index + 1) }), name, h("span", { class: "preview", text: gist(data) })];
  }

  async read(id, position) {
    this.aborter?.abort();
    this.aborter = new AbortController();
    this.frames = [];
    this.rows.reset();
    this.note.hidden = true;
    try {
      await follow(id, this.format, { position, signal: this.aborter.signal, take: (frames) => this.take(frames) });
    } catch (error) {
      const { title, text } = explain(error);
      this.note.textContent = `${title}. ${text}`;
      this.note.hidden = false;
    }
  }

  take(frames) {
    for (const frame of frames) this.frames.push(frame);
    this.rows.grow(this.frames.length);
    this.count.textContent = `${count(this.frames.length)} frames`;
  }

  close() {
    this.aborter?.abort();
  }
}

/** What a frame says, without the fields that every frame repeats. */
function gist(data) {
  if (data.length > LONGEST_PARSED) return data.slice(0, LONGEST_SHOWN);
  try {
    return core(JSON.parse(data)).slice(0, LONGEST_SHOWN);
  } catch {
    return data; // a marker such as [DONE]
  }
}

function core(frame) {
  if (Array.isArray(frame?.events)) return frame.events.map((event) => inWords(event).join(" ")).join(" ");
  const [choice] = frame?.choices ?? [];
  if (choice) return JSON.stringify(choice.finish_reason ? { ...choice.delta, finish_reason: choice.finish_reason } : choice.delta);
  const { delta } = frame ?? {};
  const piece = delta?.text ?? delta?.partial_json ?? delta?.thinking ?? delta;
  return JSON.stringify(piece ?? frame?.content_block ?? frame?.item ?? frame?.message ?? frame?.response ?? frame?.usage ?? frame);
}

export class Columns {
  /** `choose(frame, format)` is called for the frame that is chosen. */
  constructor(choose) {
    this.choose = choose;
    this.columns = new Map();
    this.boxes = h("fieldset", { class: "formats" }, h("legend", { class: "hidden", text: "Formats" }));
    this.grid = h("div", { class: "format-grid" });
    this.element = h("div", { class: "columns" }, this.boxes, this.grid);
  }

  /** Reads a stream in every format that is chosen. */
  async open(id) {
    this.close();
    this.id = id;
    const names = await formats().catch(() => FIRST_SHOWN);
    const shown = kept("formats", FIRST_SHOWN);
    const legend = this.boxes.firstElementChild;
    this.boxes.replaceChildren(legend, ...names.map((name) => this.box(name, shown.includes(name))));
    if (this.id !== id) return;
    for (const name of names) if (shown.includes(name)) this.add(name);
  }

  box(name, checked) {
    const input = h("input", { type: "checkbox", name, checked });
    input.addEventListener("change", () => {
      if (input.checked) this.add(name);
      else this.remove(name);
      keep("formats", [...this.columns.keys()]);
    });
    return h("label", { class: "chip" }, input, name);
  }

  add(name) {
    const column = new Column(name, this.choose);
    this.columns.set(name, column);
    this.grid.append(column.element);
    column.read(this.id);
  }

  remove(name) {
    const column = this.columns.get(name);
    column.close();
    column.element.remove();
    this.columns.delete(name);
  }

  close() {
    for (const name of [...this.columns.keys()]) this.remove(name);
    this.id = null;
  }
}
