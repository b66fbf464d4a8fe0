/**
 * What a line of Markdown begins with, decided as early as what follows cannot change it.
 *
 * `complete` says that the line has ended. `UNDECIDED` means that more of it is needed: a lone "`" or "-" is shown when
 * it is known what it is, and not before.
 */

export const UNDECIDED = Symbol("undecided");

/** Lines that are longer are paragraphs, whatever they begin with: looking at them again and again would take long. */
const LONGEST_LINE = 4000;
const RULE = /^([-*_])[ \t]*(?:\1[ \t]*){2,}$/;
const RULE_SO_FAR = /^([-*_])(?:[ \t]*\1)*[ \t]*$/;
const FENCE = /^(?:(`{3,})([^`]*)|(~{3,})(.*))$/;
const FENCE_SO_FAR = /^(?:`{1,2}|`{3,}[^`]*|~{1,2}|~{3,}.*)$/;
const HEADING = /^(#{1,6})(?:[ \t]+|$)/;
const BULLET = /^([-*+])(?:([ \t]+)|$)/;
const NUMBER = /^(\d{1,9})([.)])(?:([ \t]+)|$)/;
const NUMBER_SO_FAR = /^\d{1,9}[.)]?$/;
const DELIMITERS = /^\|?[ \t]*:?-+:?[ \t]*(?:\|[ \t]*:?-+:?[ \t]*)*\|?[ \t]*$/;

/** Columns of white space at the beginning; a tab goes to the next column that is a multiple of four. */
export function indentOf(line) {
  let columns = 0;
  for (const character of line) {
    if (character === " ") columns += 1;
    else if (character === "\t") columns += 4 - (columns % 4);
    else break;
  }
  return columns;
}

/** The line without that many columns of white space at its beginning. */
export function unindented(line, columns) {
  let at = 0;
  let seen = 0;
  while (seen < columns && (line[at] === " " || line[at] === "\t")) {
    seen += line[at] === "\t" ? 4 - (seen % 4) : 1;
    at += 1;
  }
  return " ".repeat(Math.max(0, seen - columns)) + line.slice(at);
}

export const isBlank = (line) => /^[ \t]*$/.test(line);

/** Whether a code block with this fence ends here. */
export function closesFence(line, fence, complete) {
  const rest = unindented(line, 3);
  const so_far = fence[0] === "`" ? /^`*[ \t]*$/ : /^~*[ \t]*$/;
  if (!so_far.test(rest)) return false;
  if (!complete) return UNDECIDED;
  const run = rest.trim();
  return run.length >= fence.length;
}

/** Whether the second line of a table is one, with as many columns as the first. */
export function delimitsTable(line, columns) {
  return line.length <= LONGEST_LINE && DELIMITERS.test(line.trim()) && cells(line).length === columns;
}

/** The cells of a line of a table; a bar in a cell is written with a backslash. */
export function cells(line) {
  const inner = line.trim().replace(/^\|/, "").replace(/(^|[^\\])\|$/, "$1");
  return inner.split(/(?<!\\)\|/).map((cell) => cell.trim().replaceAll("\\|", "|"));
}

/**
 * The block that a line begins, without its indentation: `{kind, rest, …}`.
 *
 * `inParagraph`: a list that does not begin with 1, and an empty item, do not interrupt a paragraph.
 */
export function classify(line, complete, inParagraph) {
  if (line === "") return complete ? { kind: "blank" } : UNDECIDED;
  if (line[0] === ">") return { kind: "quote", rest: line.slice(line[1] === " " ? 2 : 1) };
  if (line.length <= LONGEST_LINE) {
    const whole = complete ? wholeLine(line) : mayBeWhole(line);
    if (whole !== null) return whole;
  }
  return marked(line, complete, inParagraph) ?? { kind: "paragraph", rest: line };
}

function wholeLine(line) {
  if (RULE.test(line)) return { kind: "rule" };
  const fence = FENCE.exec(line);
  if (fence) return { kind: "fence", fence: fence[1] ?? fence[3], info: (fence[2] ?? fence[4]).trim() };
  return line[0] === "|" ? { kind: "row", rest: line } : null;
}

function mayBeWhole(line) {
  return line[0] === "|" || RULE_SO_FAR.test(line) || FENCE_SO_FAR.test(line) ? UNDECIDED : null;
}

function marked(line, complete, inParagraph) {
  const heading = HEADING.exec(line);
  if (heading) return complete || heading[0] !== line ? { kind: "heading", level: heading[1].length, rest: line.slice(heading[0].length) } : UNDECIDED;
  if (!complete && (NUMBER_SO_FAR.test(line) || /^(?:#{1,6}|[-*+])$/.test(line))) return UNDECIDED;
  return bullet(line, complete, inParagraph) ?? number(line, complete, inParagraph);
}

function bullet(line, complete, inParagraph) {
  const match = BULLET.exec(line);
  return match && item(line, complete, inParagraph, { type: match[1], width: 1, space: match[2] ?? "", ordered: false });
}

function number(line, complete, inParagraph) {
  const match = NUMBER.exec(line);
  if (!match || (inParagraph && match[1] !== "1")) return null;
  const width = match[1].length + 1;
  return item(line, complete, inParagraph, { type: match[2], width, space: match[3] ?? "", ordered: true, start: Number(match[1]) });
}

function item(line, complete, inParagraph, marker) {
  const empty = marker.width + marker.space.length === line.length;
  if (empty && !complete) return UNDECIDED;
  if (empty && inParagraph) return null;
  const space = empty || marker.space.length > 4 ? 1 : marker.space.length;
  return { kind: "item", ...marker, indent: marker.width + space, rest: line.slice(marker.width).replace(/^[ \t]+/, "") };
}
