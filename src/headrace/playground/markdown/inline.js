/**
 * Inline Markdown, read while it grows.
 *
 * `parse` says which part of the text can no longer change, whatever follows (`done`, up to `stable`), and shows the
 * rest as it most likely will be: an emphasis that is still open is emphasised, a link without its end is its label.
 * Spans have a greatest length, so what can still change is short and a long answer costs the same per character.
 */

import { EMPHASIS, SPAN, guessed, nodes, pair } from "./runs.js";

/** Characters of an address. */
const ADDRESS = 2000;
const PUNCTUATION = /[!-/:-@[-`{-~]/;
const SPECIAL = /[\\`$<&!\[\]*_~\n]|https?:\/\//g;
const TARGET = /\(\s*(?:<([^<>\n]*)>|((?:[^\s()<\\]|\\.|\([^\s()]*\))(?:[^\s()\\]|\\.|\([^\s()]*\))*))(?:\s+(?:"[^"\n]*"|'[^'\n]*'))?\s*\)/y;
const TARGET_SO_FAR = /^\(\s*(?:<[^<>\n]*>?|(?:[^\s()\\]|\\.|\([^\s()]*\))*(?:\([^\s()]*|\\)?)(?:\s+(?:"[^"\n]*"?|'[^'\n]*'?)?)?\s*$/;
const ENTITY = /&(amp|lt|gt|quot|nbsp|#39);/y;
const ENTITIES = { amp: "&", lt: "<", gt: ">", quot: '"', nbsp: "\u00a0", "#39": "'" };
const AUTOLINK = /<((?:https?:\/\/|mailto:)[^\s<>]{1,2000})>/y;
const ADDRESS_IN_TEXT = /https?:\/\/[^\s<>"'`*\\|]{1,2000}/y;

/** An address that a link may have, or null: nothing that runs, and nothing relative to this page. */
export function allowedAddress(text) {
  try {
    const url = new URL(text);
    return ["http:", "https:", "mailto:"].includes(url.protocol) ? url.href : null;
  } catch {
    return null;
  }
}

/**
 * Parses text that follows the character `before`; `final` says that nothing follows it.
 *
 * Returns `{done, rest, stable}`: nodes that stay, nodes that may change, and where in the text the first end.
 * A node is `{type, text}`, or `{type, children, href?}`.
 */
export function parse(source, final, before) {
  return new Scanner(source, final, before).run();
}

class Scanner {
  constructor(source, final, before) {
    this.source = source;
    this.final = final;
    this.before = before;
    this.at = 0;
    this.tokens = [];
    this.held = final ? source.length : lastWord(source);
  }

  run() {
    const { source } = this;
    while (this.at < source.length) {
      const step = STEPS[source[this.at]] ?? "plain";
      this[step]();
    }
    this.holdOpen((token) => token.bracket); // before runs are paired around it: a link goes first
    pair(this.tokens, 0);
    this.holdOpen((token) => token.run && token.opens && token.count > 0);
    const stable = this.final ? source.length : this.stable();
    const first = this.tokens.findIndex((token) => token.pos >= stable);
    const done = first < 0 ? this.tokens : this.tokens.slice(0, first);
    const rest = first < 0 ? [] : this.tokens.slice(first);
    return { done: nodes(done), rest: nodes(this.final ? rest : guessed(rest, source.length)), stable };
  }

  /** Where the text begins that may still change; text across that place is cut in two. */
  stable() {
    const limit = this.held;
    for (const [index, token] of this.tokens.entries()) {
      if (token.end <= limit) continue;
      if (token.pos >= limit) return Math.min(limit, token.pos);
      if (!token.plain) return token.pos;
      const cut = limit - token.pos;
      const halves = [plain(token.text.slice(0, cut), token.pos), plain(token.text.slice(cut), limit)];
      this.tokens.splice(index, 1, ...halves);
      return limit;
    }
    return limit;
  }

  /** Holds what begins at a token that may still find its end. */
  holdOpen(which) {
    const recent = this.source.length - SPAN;
    const open = this.tokens.find((token) => token.pos >= recent && which(token));
    if (open) this.hold(open.pos);
  }

  hold(position) {
    this.held = Math.min(this.held, position);
  }

  push(token) {
    this.tokens.push(token);
    this.at = token.end;
  }

  text(text, length = text.length) {
    this.push({ text, pos: this.at, end: this.at + length, plain: text.length === length });
  }

  previous() {
    return this.at > 0 ? this.source[this.at - 1] : this.before;
  }

  matched(pattern) {
    pattern.lastIndex = this.at;
    return pattern.exec(this.source);
  }

  plain() {
    SPECIAL.lastIndex = this.at;
    const next = SPECIAL.exec(this.source);
    if (next === null) this.text(this.source.slice(this.at));
    else if (next.index > this.at) this.text(this.source.slice(this.at, next.index));
    else this.address();
  }

  address() {
    const match = /[\p{L}\p{N}]/u.test(this.previous()) ? null : this.matched(ADDRESS_IN_TEXT);
    const written = match && trimmed(match[0]);
    const href = written && allowedAddress(written);
    if (!href) return this.text("http");
    this.push({ node: { type: "link", href, children: [{ type: "text", text: written }] }, ...this.span(written.length) });
  }

  span(length) {
    return { pos: this.at, end: this.at + length };
  }

  newline() {
    this.push({ node: { type: "br" }, ...this.span(1) });
  }

  escape() {
    const next = this.source[this.at + 1];
    if (next === "(" || next === "[") return this.math(`\\${next}`, next === "(" ? "\\)" : "\\]");
    if (next === "\n") return this.push({ node: { type: "br" }, ...this.span(2) });
    if (next !== undefined && PUNCTUATION.test(next)) return this.text(next, 2);
    this.text(next === undefined && !this.final ? "" : "\\", 1);
  }

  dollar() {
    const double = this.source[this.at + 1] === "$";
    const next = this.source[this.at + (double ? 2 : 1)];
    if (!double && (next === undefined || /[\s\d]/.test(next))) return this.text("$");
    this.math(double ? "$$" : "$", double ? "$$" : "$");
  }

  /** A formula stays as it was written: nothing in it is emphasis. */
  math(open, close) {
    const from = this.at + open.length;
    const window = this.source.slice(from, from + SPAN);
    const end = close === "$" ? dollarEnd(window, from + window.length === this.source.length && !this.final) : window.indexOf(close);
    if (end > 0) {
      const length = open.length + end + close.length;
      if (this.at + length >= this.source.length && !this.final) this.hold(this.at);
      this.push({ node: { type: "math", text: this.source.slice(this.at, this.at + length) }, ...this.span(length) });
      return;
    }
    if (window.length < SPAN && !(close === "$" && window.includes("\n"))) this.hold(this.at);
    this.text(open);
  }

  code() {
    const ticks = /`+/y;
    const run = this.matched(ticks)[0];
    const from = this.at + run.length;
    const end = closingTicks(this.source, from, run.length);
    if (end >= 0) {
      const length = end + run.length - this.at;
      if (end + run.length === this.source.length) this.hold(this.at);
      return this.push({ node: { type: "code", text: codeText(this.source.slice(from, end)) }, ...this.span(length) });
    }
    if (this.final || this.source.length > from + SPAN + run.length) return this.text(run);
    this.hold(this.at);
    const text = this.source.slice(from).replace(/`+$/, "");
    this.push({ node: { type: text ? "code" : "text", text }, pos: this.at, end: this.source.length });
  }

  angle() {
    const match = this.matched(AUTOLINK);
    const href = match && allowedAddress(match[1]);
    if (!href) return this.text("<");
    const node = { type: "link", href, children: [{ type: "text", text: match[1].replace(/^mailto:/, "") }] };
    this.push({ node, ...this.span(match[0].length) });
  }

  entity() {
    const match = this.matched(ENTITY);
    if (match) this.text(ENTITIES[match[1]], match[0].length);
    else this.text("&");
  }

  bang() {
    if (this.source[this.at + 1] === "[") this.bracket("![");
    else this.text("!");
  }

  bracket(text = "[") {
    const atWord = !/[\p{L}\p{N}\])]/u.test(this.previous());
    this.push({ text, bracket: true, atWord, image: text === "![", ...this.span(text.length) });
  }

  close() {
    const start = this.tokens.findLastIndex((token) => token.bracket);
    const open = this.tokens[start];
    if (open === undefined || this.at - open.pos > SPAN) return this.text("]");
    const next = this.source[this.at + 1];
    if (next === "(" && this.link(start)) return;
    if (next === undefined && !this.final) {
      this.hold(open.pos);
      return this.text(open.atWord ? "" : "]", 1);
    }
    open.bracket = false;
    this.text("]");
  }

  /** The rest of `[label](address)`; tells whether there is one, or may be. */
  link(start) {
    const open = this.tokens[start];
    TARGET.lastIndex = this.at + 1;
    const match = TARGET.exec(this.source.slice(0, this.at + 1 + ADDRESS));
    if (match === null) return this.unfinished(open);
    const href = allowedAddress(match[1] ?? match[2].replace(/\\([!-/:-@[-`{-~])/g, "$1"));
    if (href === null) return false;
    pair(this.tokens, start + 1);
    const children = nodes(this.tokens.splice(start + 1));
    const label = children.length ? children : [{ type: "text", text: href }];
    const end = this.at + 1 + match[0].length;
    this.tokens[start] = { node: { type: "link", href, children: label }, pos: open.pos, end };
    for (const token of this.tokens) if (!token.image) token.bracket = false; // no link in a link
    this.at = end;
    return true;
  }

  unfinished(open) {
    const rest = this.source.slice(this.at + 1);
    if (this.final || rest.length >= ADDRESS || !TARGET_SO_FAR.test(rest)) return false;
    this.hold(open.pos);
    this.push({ text: "", pos: this.at, end: this.source.length });
    return true;
  }

  delimiter() {
    const mark = this.source[this.at];
    let length = 1;
    while (this.source[this.at + length] === mark) length += 1;
    const [single] = EMPHASIS[mark];
    const previous = this.previous();
    const next = this.source[this.at + length];
    if (next === undefined && !this.final) return this.push({ text: "", ...this.span(length) });
    if (length > 3 || (single === null && length !== 2)) return this.text(mark.repeat(length));
    const inWord = mark === "*" || mark === "~" ? length > 1 && !/[0-9A-Za-z]/.test(previous) : false;
    const opens = next !== undefined && !/\s/.test(next) && (inWord || !/[\p{L}\p{N}]/u.test(previous));
    const closes = !/\s/.test(previous) && (mark !== "_" || next === undefined || !/[\p{L}\p{N}]/u.test(next));
    this.push({ run: mark, count: length, opens, closes, ...this.span(length) });
  }
}

const STEPS = {
  "\\": "escape", "`": "code", $: "dollar", "<": "angle", "&": "entity", "!": "bang", "[": "bracket", "]": "close",
  "*": "delimiter", _: "delimiter", "~": "delimiter", "\n": "newline",
};

function plain(text, pos) {
  return { text, pos, end: pos + text.length, plain: true };
}

/** Where the last word begins: until it is over, it may become an address, an escape or a longer run. */
function lastWord(source) {
  let at = source.length;
  const first = Math.max(0, at - ADDRESS - 48);
  while (at > first && !/\s/.test(source[at - 1])) at -= 1;
  return at;
}

function trimmed(address) {
  let end = address.length;
  while (/[.,;:!?)\]}_~]/.test(address[end - 1])) {
    if (address[end - 1] === ")" && address.slice(0, end).includes("(")) break;
    end -= 1;
  }
  return address.slice(0, end);
}

function dollarEnd(window, growing) {
  for (let at = window.indexOf("$", 1); at > 0; at = window.indexOf("$", at + 1)) {
    const next = window[at + 1];
    if (window.lastIndexOf("\n", at) >= 0) return -1;
    if (/\s/.test(window[at - 1]) || (next !== undefined && /[\d$]/.test(next))) continue;
    return next === undefined && growing ? -1 : at;
  }
  return -1;
}

function closingTicks(source, from, length) {
  const runs = /`+/g;
  runs.lastIndex = from;
  for (let run = runs.exec(source); run !== null && run.index <= from + SPAN; run = runs.exec(source)) {
    if (run[0].length === length) return run.index;
  }
  return -1;
}

function codeText(text) {
  const line = text.replaceAll("\n", " ");
  return /^ .*[^ ].* $/.test(line) ? line.slice(1, -1) : line;
}
