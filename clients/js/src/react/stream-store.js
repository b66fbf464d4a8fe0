import { Store } from './store.js';

/** @import {Client, HeadraceError, Part, Stream, StreamState, Usage} from '../index.js' */

/**
 * A stream as it was at one moment.
 *
 * @typedef {object} StreamSnapshot
 * @property {Stream | undefined} stream the stream itself, for `timing` and events
 * @property {string | undefined} id
 * @property {StreamState | 'idle'} state `idle` where there is no stream
 * @property {string} text
 * @property {readonly Part[]} parts
 * @property {Usage | undefined} usage
 * @property {string | undefined} finishReason
 * @property {HeadraceError | undefined} error
 */

/** @type {StreamSnapshot} */
const IDLE = Object.freeze({
  stream: undefined,
  id: undefined,
  state: 'idle',
  text: '',
  parts: [],
  usage: undefined,
  finishReason: undefined,
  error: undefined,
});

/**
 * @param {Stream | undefined} stream
 * @returns {StreamSnapshot}
 */
export function snapshotOf(stream) {
  if (!stream) return IDLE;
  const { id, state, text, usage, finishReason, error } = stream;
  const parts = stream.parts.map((part) => Object.assign(Object.create(Object.getPrototypeOf(part)), part));
  return { stream, id, state, text, parts, usage, finishReason, error };
}

/**
 * A stream that components look at: one that somebody made, which is theirs to close, or one that is attached to by its
 * id for as long as somebody looks.
 *
 * @extends {Store<StreamSnapshot>}
 */
export class StreamStore extends Store {
  /** @type {Stream | undefined} */
  #stream;
  #source;
  #client;
  #unlisten = () => {};

  /**
   * @param {Stream | string | null | undefined} source
   * @param {() => Client} client asked for when it is needed
   */
  constructor(source, client) {
    super(() => snapshotOf(this.#stream));
    this.#source = source;
    this.#client = client;
    if (source && typeof source === 'object') this.#stream = source;
  }

  /** @override */
  enter() {
    if (typeof this.#source === 'string') this.#stream = this.#client().attach(this.#source);
    this.#unlisten = this.#stream?.on('change', this.touch) ?? this.#unlisten;
    this.update();
  }

  /** @override */
  leave() {
    this.#unlisten();
    if (typeof this.#source === 'string') this.#stream?.close();
  }
}
