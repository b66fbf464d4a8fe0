/** Inline Markdown into an element: what stays is appended once, only the end that may still change is made anew. */

import { h } from "../dom.js";
import { parse } from "./inline.js";

/** Text that is parsed at once; more than can be held back, so that every round gets on. */
const PIECE = 8192;

export class InlineWriter {
  constructor(parent) {
    this.parent = parent;
    this.tail = "";
    this.before = "\n";
    this.guesses = [];
  }

  add(text) {
    this.tail += text;
  }

  /** Shows what has been added; `final` says that nothing follows. */
  flush(final = false) {
    for (const node of this.guesses) node.remove();
    while (this.tail.length > PIECE) this.advance(this.tail.slice(0, PIECE), false);
    this.guesses = this.advance(this.tail, final).map(element);
    this.parent.append(...this.guesses);
  }

  advance(text, final) {
    const { done, rest, stable } = parse(text, final, this.before);
    settle(this.parent, done);
    if (stable > 0) this.before = text[stable - 1];
    this.tail = this.tail.slice(stable);
    return rest;
  }
}

/** Appends nodes for good: text goes on in the text node that is there. */
function settle(parent, [first, ...others]) {
  if (first === undefined) return;
  if (first.type === "text" && parent.lastChild?.nodeType === Node.TEXT_NODE) parent.lastChild.appendData(first.text);
  else parent.append(element(first));
  parent.append(...others.map(element));
}

function element(node) {
  switch (node.type) {
    case "text":
      return document.createTextNode(node.text);
    case "br":
      return h("br");
    case "code":
      return h("code", { text: node.text });
    case "math":
      return h("span", { class: "math", text: node.text });
    case "link":
      return h("a", { href: node.href, rel: "noopener noreferrer nofollow", target: "_blank" }, ...node.children.map(element));
    default:
      return h(node.type, {}, ...node.children.map(element));
  }
}
