import { parsePartialJSON } from './partial-json.js';

/** @import {ItemStart, PartKind, StreamEvent, StreamInfo, TerminalEvent, UsageEvent} from './events.js' */

/** A part of the answer: text, reasoning, a refusal, a tool call, …. It grows while the stream runs. */
export class Part {
  /** Text, or a tool call's arguments exactly as the model wrote them. */
  text = '';
  /** Opaque proof of reasoning. @type {string | undefined} */
  signature;
  /** Whether nothing more will come. */
  done = false;
  /** What the server says that the value is, where it does. @type {unknown} */
  value;

  /**
   * @param {number} item its number, dense over the stream
   * @param {PartKind} kind
   * @param {Partial<ItemStart>} [start]
   */
  constructor(item, kind, { choice = 0, name, call_id } = {}) {
    this.item = item;
    this.kind = kind;
    /** Which of `n` alternatives it belongs to. */
    this.choice = choice;
    /** Tool name. */
    this.name = name;
    this.callId = call_id;
  }

  /**
   * The value of the JSON so far, in a tool call's arguments or in text that is a JSON object or array: see
   * `parsePartialJSON`. Parsed whenever it is asked for. Undefined where there is none.
   */
  get object() {
    return this.value ?? (/^\s*[[{]/.test(this.text) ? parsePartialJSON(this.text) : undefined);
  }
}

/** The events of a stream, folded into what they amount to. */
export class Answer {
  /** By item, in the order in which they began. @type {Part[]} */
  parts = [];
  /** The text of the first choice. */
  text = '';
  /** @type {UsageEvent | undefined} */
  usage;
  /** As the caller named it. @type {string | undefined} */
  model;
  /** @type {TerminalEvent | undefined} */
  terminal;
  /** @type {Map<number, Part>} */
  #byItem = new Map();

  /** @param {StreamEvent} event */
  apply(event) {
    switch (event.type) {
      case 'stream.start':
        this.model = event.model;
        break;
      case 'item.start':
        this.#part(event.item, event.kind, event);
        break;
      case 'text.delta': {
        const part = this.#part(event.item, 'text');
        part.text += event.text;
        if (part.kind === 'text' && !part.choice) this.text += event.text;
        break;
      }
      case 'args.delta':
        this.#part(event.item, 'tool_call').text += event.json;
        break;
      case 'signature':
        this.#part(event.item, 'reasoning').signature = event.data;
        break;
      case 'object':
        this.#part(event.item, 'text').value = event.value;
        break;
      case 'item.end':
        this.#part(event.item, 'text').done = true;
        break;
      case 'usage':
        this.usage = event;
        break;
      case 'finished':
      case 'failed':
      case 'cancelled':
        this.terminal = event;
        for (const part of this.parts) part.done = true;
    }
  }

  /**
   * The events that lead from here to a state that was asked for: for readers who cannot read the stream itself.
   *
   * @param {StreamInfo} info
   * @returns {StreamEvent[]}
   */
  eventsTo(info) {
    /** @type {StreamEvent[]} */
    const events = [];
    let next = this.parts.length;
    for (const { index: choice, items } of info.choices) {
      const known = this.parts.filter((part) => part.choice === choice);
      items.forEach(({ kind, text, name, call_id }, place) => {
        const part = known[place];
        const item = part?.item ?? next++;
        const more = text.slice(part?.text.length);
        if (!part) events.push({ type: 'item.start', item, kind, choice, name, call_id });
        if (more)
          events.push(
            kind === 'tool_call' ? { type: 'args.delta', item, json: more } : { type: 'text.delta', item, text: more },
          );
      });
    }
    if (info.usage) events.push({ type: 'usage', ...info.usage });
    return [...events, ...terminalOf(info)];
  }

  /**
   * The part of an item; one whose start was before the position that the reader began at gets the likeliest kind.
   *
   * @param {number} item
   * @param {PartKind} kind
   * @param {ItemStart} [start]
   */
  #part(item, kind, start) {
    const known = this.#byItem.get(item);
    if (known) return known;
    const part = new Part(item, kind, start);
    this.#byItem.set(item, part);
    this.parts.push(part);
    return part;
  }
}

/**
 * How a stream that was asked about has ended, as the event that says so; nothing while it runs.
 *
 * @param {StreamInfo} info
 * @returns {TerminalEvent[]}
 */
export const terminalOf = ({ state, finish_reason: reason, cancelled_by: by, error }) =>
  state === 'running' ? [] : [/** @type {TerminalEvent} */ ({ type: state, reason, by, ...error })];
