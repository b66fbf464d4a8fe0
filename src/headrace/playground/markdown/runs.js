/** Runs of marks, such as ** and _: which of them belong together, and what stands between them. */

/** Characters between the two ends of an emphasis, a code span, a label. */
export const SPAN = 1000;
/** What a run of one mark, and of two, makes of the text between. */
export const EMPHASIS = { "*": ["em", "strong"], _: ["em", "strong"], "~": [null, "del"] };

/** Pairs the runs from `first` on, each closing one with the nearest that opens. */
export function pair(tokens, first) {
  for (let at = first; at < tokens.length; at += 1) {
    const closer = tokens[at];
    while (closer.run && closer.closes && closer.count > 0) {
      const start = opener(tokens, first, at);
      if (start < 0) break;
      at = wrap(tokens, start, at);
    }
  }
}

function opener(tokens, first, at) {
  const closer = tokens[at];
  for (let index = at - 1; index >= first; index -= 1) {
    const token = tokens[index];
    if (closer.pos - token.pos > SPAN) return -1;
    if (token.run === closer.run && token.opens && token.count > 0) return index;
  }
  return -1;
}

/** Makes one node of what stands between two runs; returns where the closing run is then. */
function wrap(tokens, start, at) {
  const [open, close] = [tokens[start], tokens[at]];
  const used = Math.min(open.count, close.count, 2);
  const node = { type: EMPHASIS[open.run][used - 1], children: nodes(tokens.slice(start + 1, at)) };
  for (const run of [open, close]) run.count -= used;
  open.end -= used;
  tokens.splice(start + 1, at - start - 1, { node, pos: open.end, end: close.pos + used });
  close.pos += used;
  return start + 2;
}

/** Shows open emphasis and labels as if they were closed. */
export function guessed(tokens, length) {
  const index = tokens.findIndex((token) => token.run && token.opens && token.count > 0 && length - token.pos <= SPAN);
  if (index < 0) return tokens.map(hidden);
  const open = tokens[index];
  const inner = guessed(tokens.slice(index + 1), length);
  const types = { 1: [EMPHASIS[open.run][0]], 2: [EMPHASIS[open.run][1]], 3: ["strong", "em"] }[open.count];
  let children = nodes(inner);
  for (const type of types.reverse()) children = [{ type, children }];
  return [...tokens.slice(0, index).map(hidden), ...children.map((node) => ({ node }))];
}

function hidden(token) {
  return token.bracket && token.atWord ? { ...token, text: "" } : token;
}

/** Tokens as the nodes that they are, with neighbouring texts joined. */
export function nodes(tokens) {
  const found = [];
  for (const token of tokens) {
    const node = token.node ?? { type: "text", text: token.run ? token.run.repeat(token.count) : token.text };
    const last = found.at(-1);
    if (node.type === "text" && last?.type === "text") found[found.length - 1] = { type: "text", text: last.text + node.text };
    else if (node.type !== "text" || node.text !== "") found.push(node);
  }
  return found;
}
