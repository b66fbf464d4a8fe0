/** A conversation: turns of a question and its answer, kept over a reload as far as the server does not keep it. */

import { keep, kept } from "./storage.js";

const NAME = "conversation";

/**
 * A turn is `{question, model, key, id?, state, parts, error?, timing?}`: `key` makes asking again after a reload join
 * the same stream, `id` names it once the server has said it.
 */
export class Conversation {
  constructor() {
    this.turns = kept(NAME, []);
  }

  get last() {
    return this.turns.at(-1);
  }

  add(question, model, settings) {
    const turn = { question, model, settings, key: crypto.getRandomValues(new Uint32Array(4)).join("-"), state: "connecting", parts: [] };
    this.turns.push(turn);
    this.save();
    return turn;
  }

  remove(turn) {
    this.turns = this.turns.filter((each) => each !== turn);
    this.save();
  }

  clear() {
    this.turns = [];
    keep(NAME, null);
  }

  save() {
    keep(NAME, this.turns);
  }

  /** What the model is sent for a turn: everything that was said before it. */
  messagesFor(turn) {
    const before = this.turns.slice(0, this.turns.indexOf(turn));
    const messages = before.flatMap((each) => [user(each.question), ...assistant(each)]);
    const system = turn.settings?.system ? [{ role: "system", content: turn.settings.system }] : [];
    return [...system, ...messages, user(turn.question)];
  }
}

const user = (content) => ({ role: "user", content });

function assistant(turn) {
  const text = textOf(turn.parts);
  return text ? [{ role: "assistant", content: text }] : [];
}

/** The text of an answer, without its reasoning and its tool calls. */
export const textOf = (parts) => parts.filter((part) => part.kind === "text").map((part) => part.text).join("");

/** An ended stream's parts as they can be kept. */
export const plainParts = (parts) => parts.map(({ kind, text, name }) => ({ kind, text, name }));
