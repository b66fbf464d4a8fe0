/**
 * Markdown blocks, written into an element while the text arrives.
 *
 * However the text is cut into pieces, the elements in the end are the same, and none that is there is ever made
 * anew. What is understood: paragraphs, headings with #, lists, quotes, code fences, tables, rules. HTML is text.
 */

import { h } from "../dom.js";
import { Code, Heading, Paragraph, Table, TableHead } from "./leaves.js";
import { UNDECIDED, classify, closesFence, delimitsTable, indentOf, isBlank, unindented } from "./lines.js";

/** Quotes and lists in one another; deeper ones are text. */
const DEEPEST = 8;
/** White space at the beginning of a line that is looked at. */
const LONGEST_INDENT = 200;

/** Something that holds blocks; `open` is the one that can still grow. */
class Container {
  constructor(kind, element, depth = 0, item = {}) {
    this.kind = kind;
    this.element = element;
    this.depth = depth;
    this.item = item;
    this.open = null;
  }

  close() {
    this.open?.close();
    this.open = null;
  }

  flush() {
    this.open?.flush();
  }
}

export class MarkdownWriter {
  constructor(parent) {
    this.root = new Container("root", parent);
    this.pending = "";
    this.leaf = null;
  }

  /** Takes a piece of the text, and shows what can be shown. */
  feed(text) {
    const lines = text.replaceAll("\r", "").split("\n");
    lines.forEach((piece, index) => this.piece(piece, index < lines.length - 1));
    this.root.flush();
  }

  /** The text is over: what was held back is shown. */
  end() {
    if (this.leaf === null && this.pending !== "") this.piece("", true);
    this.root.close();
  }

  piece(piece, complete) {
    if (this.leaf !== null) {
      this.leaf.add(piece);
    } else {
      this.pending += piece;
      if (!complete && isBlank(this.pending)) this.pending = this.pending.slice(0, LONGEST_INDENT);
      else this.decide(complete);
    }
    if (complete) {
      this.leaf?.endLine?.();
      this.leaf = null;
      this.pending = "";
    }
  }

  decide(complete) {
    const place = this.placed(this.pending, complete);
    if (place !== UNDECIDED) this.leaf = this.apply(place);
  }

  /** Where a line belongs: the deepest container that goes on, what it opens in there, and the rest of it. */
  placed(line, complete) {
    let container = this.root;
    let rest = line;
    for (let next = continued(container, rest); next !== null; next = continued(container, rest)) {
      [container, rest] = next;
      if (!complete && isBlank(rest)) return UNDECIDED;
    }
    const code = container.open?.kind === "code" ? container.open : null;
    if (code !== null) {
      const closes = closesFence(rest, code.fence, complete);
      return closes === UNDECIDED ? UNDECIDED : { container, openings: [], block: { kind: closes ? "unfence" : "code", rest } };
    }
    return this.opened(container, rest, complete);
  }

  opened(container, rest, complete) {
    const openings = [];
    let text = rest;
    for (;;) {
      const indent = indentOf(text);
      const inParagraph = openings.length === 0 && container.open?.kind === "paragraph";
      const block = classify(text.replace(/^[ \t]+/, ""), complete, inParagraph);
      if (block === UNDECIDED) return UNDECIDED;
      if (block.kind !== "quote" && block.kind !== "item") return { container, openings, block };
      if (container.depth + openings.length >= DEEPEST) return { container, openings, block: { kind: "paragraph", rest: text } };
      openings.push({ ...block, marker: indent, indent: indent + (block.indent ?? 0) });
      text = block.rest;
      if (isBlank(text)) return complete ? { container, openings, block: { kind: "blank" } } : UNDECIDED;
    }
  }

  /** Does what a line says; returns the block that the rest of the line goes into, if it is not over. */
  apply({ container, openings, block }) {
    if (block.kind === "paragraph" && openings.length === 0) {
      const paragraph = openParagraph(container);
      if (paragraph !== null) {
        paragraph.add(`\n${block.rest}`);
        return paragraph;
      }
    }
    let parent = container;
    if (isContainer(parent.open) && !joinsList(parent.open, openings[0])) closeOpen(parent);
    for (const opening of openings) parent = open(parent, opening);
    return BLOCKS[block.kind](parent, block);
  }
}

const BLOCKS = {
  blank(parent) {
    if (parent.open?.kind !== "code") closeOpen(parent, (leaf) => !isContainer(leaf));
    return null;
  },
  rule(parent) {
    closeOpen(parent);
    parent.element.append(h("hr"));
    return null;
  },
  fence(parent, block) {
    adopt(parent, new Code(prepared(parent), block.fence, block.info));
    return null;
  },
  unfence(parent) {
    closeOpen(parent);
    return null;
  },
  code(parent, block) {
    parent.open.add(block.rest);
    return parent.open;
  },
  row(parent, block) {
    const current = parent.open;
    if (current?.kind === "table") current.addRow(block.rest);
    else if (current?.kind === "head" && delimitsTable(block.rest, current.columns)) parent.open = new Table(current, block.rest);
    else adopt(parent, new TableHead(parent.element, block.rest));
    return null;
  },
  heading(parent, block) {
    const heading = adopt(parent, new Heading(prepared(parent), block.level));
    heading.add(block.rest);
    return heading;
  },
  paragraph(parent, block) {
    const paragraph = adopt(parent, new Paragraph(prepared(parent)));
    paragraph.add(block.rest);
    return paragraph;
  },
};

/** The element for a new block, with the one before it closed: what that still shows comes first. */
function prepared(parent) {
  closeOpen(parent);
  return parent.element;
}

function adopt(parent, block) {
  parent.open?.close();
  parent.open = block;
  return block;
}

function closeOpen(parent, which = () => true) {
  if (parent.open === null || !which(parent.open)) return;
  parent.open.close();
  parent.open = null;
}

const isContainer = (block) => block instanceof Container;

/** The container inside that a line goes on with, and the line without what says so; null if there is none. */
function continued(container, line) {
  const inner = container.open;
  if (!isContainer(inner)) return null;
  if (inner.kind === "quote") {
    const match = /^[ \t]*> ?/.exec(line);
    return match && indentOf(line) < 4 ? [inner, line.slice(match[0].length)] : null;
  }
  const item = inner.open;
  if (isBlank(line)) return [item, ""];
  const indent = indentOf(line);
  // Less than the text of the item is indented is enough: many models indent by two whatever the marker.
  return indent >= Math.min(item.item.indent, item.item.marker + 2) ? [item, unindented(line, Math.min(indent, item.item.indent))] : null;
}

function joinsList(list, opening) {
  return list.kind === "list" && opening?.kind === "item" && list.item.type === opening.type;
}

function open(parent, opening) {
  if (opening.kind === "quote") {
    const element = h("blockquote");
    prepared(parent).append(element);
    return adopt(parent, new Container("quote", element, parent.depth + 1));
  }
  const list = isContainer(parent.open) && joinsList(parent.open, opening) ? parent.open : newList(parent, opening);
  const element = h("li");
  list.close();
  list.element.append(element);
  return adopt(list, new Container("item", element, list.depth + 1, opening));
}

function newList(parent, opening) {
  const start = opening.ordered && opening.start !== 1 ? opening.start : null;
  const element = h(opening.ordered ? "ol" : "ul", { start });
  prepared(parent).append(element);
  return adopt(parent, new Container("list", element, parent.depth, opening));
}

/** The paragraph that a line of text goes on with: also without the mark of the quote or the indent of the item. */
function openParagraph(container) {
  let block = container;
  while (isContainer(block)) block = block.open;
  return block?.kind === "paragraph" ? block : null;
}
