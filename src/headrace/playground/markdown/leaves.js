/** Blocks that hold text: what has been written of them stays as it is, and grows at its end. */

import { copy, h } from "../dom.js";
import { cells } from "./lines.js";
import { InlineWriter } from "./writer.js";

/** A browser lays a paragraph out as a whole: one that is longer than this goes on in another, so none gets slow. */
const LONGEST_PARAGRAPH = 4000;
/** Likewise for lines of code. */
const LINES_OF_A_CHUNK = 50;

/** A paragraph; lines of it end where they were ended. */
export class Paragraph {
  constructor(parent) {
    this.parent = parent;
    this.kind = "paragraph";
    this.begin();
  }

  begin(className = null) {
    this.length = 0;
    this.element = h("p", { class: className });
    this.writer = new InlineWriter(this.element);
    this.parent.append(this.element);
  }

  add(text) {
    let rest = text;
    while (this.length + rest.length > LONGEST_PARAGRAPH) {
      const from = Math.max(0, LONGEST_PARAGRAPH - this.length);
      const space = rest.slice(from).search(/\s/);
      if (space < 0) break;
      this.writer.add(rest.slice(0, from + space));
      this.close();
      this.begin("more");
      rest = rest.slice(from + space + 1);
    }
    this.writer.add(rest);
    this.length += rest.length;
  }

  flush() {
    this.writer.flush();
  }

  close() {
    this.writer.flush(true);
  }
}

/** A heading; the page has an h1 and an h2 of its own, so an answer's begin with h3. */
export class Heading {
  constructor(parent, level) {
    this.kind = "heading";
    const element = h(`h${Math.min(6, level + 2)}`, { class: `level-${level}` });
    this.writer = new InlineWriter(element);
    parent.append(element);
  }

  add(text) {
    this.writer.add(text);
  }

  flush() {
    this.writer.flush();
  }

  close() {
    this.writer.flush(true);
  }
}

/** A code block with the name of its language and a button that copies it. */
export class Code {
  constructor(parent, fence, info) {
    this.kind = "code";
    this.fence = fence;
    this.lines = 0;
    this.code = h("code");
    const language = /^[\w+#.-]{1,40}/.exec(info)?.[0] ?? "";
    const button = h("button", { type: "button", class: "quiet", text: "Copy" });
    button.addEventListener("click", () => copy(button, this.code.textContent));
    const pre = h("pre", { tabindex: "0", role: "region", "aria-label": `Code ${language}`.trim() }, this.code);
    parent.append(h("div", { class: "code" }, h("div", { class: "code-head" }, h("span", { text: language || "text" }), button), pre));
  }

  add(text) {
    if (text === "" && this.chunk) return;
    this.chunk ??= this.newChunk();
    this.chunk.appendData(text);
  }

  endLine() {
    this.add("\n");
    this.lines += 1;
    if (this.lines % LINES_OF_A_CHUNK === 0) this.chunk = null;
  }

  newChunk() {
    const text = document.createTextNode("");
    this.code.append(h("span", { class: "chunk" }, text));
    return text;
  }

  flush() {}

  close() {}
}

/** A first line of a table that still lacks the second, which makes it one; nothing of it is shown. */
export class TableHead {
  constructor(parent, line) {
    this.kind = "head";
    this.parent = parent;
    this.line = line;
    this.columns = cells(line).length;
  }

  flush() {}

  close() {
    const paragraph = new Paragraph(this.parent);
    paragraph.add(this.line);
    paragraph.close();
  }
}

/** A table; a row is shown when it is whole. */
export class Table {
  constructor(head, delimiters) {
    this.kind = "table";
    this.aligned = cells(delimiters).map((cell) => (/:$/.test(cell) ? (/^:/.test(cell) ? "center" : "end") : null));
    this.body = h("tbody");
    const row = this.row("th", cells(head.line));
    const table = h("table", {}, h("thead", {}, row), this.body);
    head.parent.append(h("div", { class: "table", role: "region", tabindex: "0", "aria-label": "Table" }, table));
  }

  addRow(line) {
    this.body.append(this.row("td", cells(line)));
  }

  row(tag, texts) {
    return h("tr", {}, ...this.aligned.map((align, index) => {
      const cell = h(tag, { class: align, scope: tag === "th" ? "col" : null });
      const writer = new InlineWriter(cell);
      writer.add(texts[index] ?? "");
      writer.flush(true);
      return cell;
    }));
  }

  flush() {}

  close() {}
}
