/** The parts of an answer in the order in which they came: text as Markdown, reasoning folded away, tool calls. */

import { h } from "./dom.js";
import { MarkdownWriter } from "./markdown/blocks.js";

/** Text of which only what has been added since is ever written. */
class Growing {
  constructor(take) {
    this.take = take;
    this.length = 0;
  }

  update(text) {
    if (text.length === this.length) return;
    this.take(text.slice(this.length));
    this.length = text.length;
  }
}

class TextPart {
  constructor(kind) {
    this.element = h("div", { class: kind === "refusal" ? "prose refusal" : "prose" });
    this.writer = new MarkdownWriter(this.element);
    this.growing = new Growing((piece) => this.writer.feed(piece));
  }

  update(part, over) {
    this.growing.update(part.text);
    if ((part.done || over) && !this.ended) {
      this.ended = true;
      this.writer.end();
    }
  }
}

class ReasoningPart {
  constructor() {
    this.label = h("span", { text: "Thinking" });
    this.body = h("div", { class: "reasoning-text" });
    this.element = h("details", { class: "reasoning" }, h("summary", {}, this.label), this.body);
    this.text = document.createTextNode("");
    this.body.append(this.text);
    this.growing = new Growing((piece) => this.text.appendData(piece));
  }

  update(part, over) {
    this.growing.update(part.text);
    const ended = part.done || over;
    this.element.classList.toggle("busy", !ended);
    this.label.textContent = ended ? "Thoughts" : "Thinking";
  }
}

class ToolPart {
  constructor(part) {
    this.name = h("code", { text: part.name ?? "tool" });
    this.state = h("span", { class: "muted" });
    this.code = h("code");
    this.text = document.createTextNode("");
    this.code.append(this.text);
    const pre = h("pre", { tabindex: "0", role: "region", "aria-label": `Arguments of ${part.name ?? "the tool"}` }, this.code);
    this.element = h("div", { class: "tool" }, h("div", { class: "tool-head" }, h("span", { text: "Tool call" }), this.name, this.state), pre);
    this.growing = new Growing((piece) => this.text.appendData(piece));
  }

  update(part, over) {
    this.growing.update(part.text);
    const ended = part.done || over;
    this.state.textContent = ended ? "" : "arguments are arriving";
    if (ended && !this.ended) {
      this.ended = true;
      this.text.data = indented(part.text);
    }
  }
}

function indented(text) {
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    return text; // not JSON, or not all of it
  }
}

const KINDS = { reasoning: ReasoningPart, tool_call: ToolPart };

/** Shows a growing list of parts in an element. */
export class Parts {
  constructor(element) {
    this.element = element;
    this.views = [];
  }

  /** Shows what is new in the parts; `over` says that none of them will grow again. */
  update(parts, over) {
    parts.forEach((part, index) => {
      this.views[index] ??= this.add(part);
      this.views[index].update(part, over);
    });
  }

  add(part) {
    const view = new (KINDS[part.kind] ?? TextPart)(part.kind === "tool_call" ? part : part.kind);
    this.element.append(view.element);
    return view;
  }
}
