import { createLineReader, MAX_BYTES, tooLong } from './lines.js';

const COLON = 58;
/** A byte order mark within a line is text. */
export const utf8 = new TextDecoder('utf-8', { ignoreBOM: true });

/**
 * One dispatched event.
 *
 * @typedef {object} SSEEvent
 * @property {string} data several `data` lines are joined by LF
 * @property {string} event empty where the frame names none, which a browser dispatches as `message`
 * @property {string} id the last event id at that moment, not necessarily of this frame
 */

/**
 * @typedef {object} SSEDecoder
 * @property {(bytes: Uint8Array) => void} feed takes one read. Throws a `HeadraceError` (`line_too_long`), and must
 *   not be called again then; what was complete was given before
 * @property {() => void} finish takes the end of the input: an unfinished last frame counts as not received
 * @property {boolean} pending after `finish`: whether there was one
 * @property {string} lastEventId what a reconnecting reader would send; an id counts once its frame is complete
 * @property {number | null} retryMs the last reconnection time that the sender asked for, in milliseconds
 */

/**
 * Server-sent events (WHATWG HTML 9.2.5 and 9.2.6), from bytes that are cut anywhere. Beyond the specification: lines
 * and events have a size limit, and a `retry` of more than 15 digits is ignored.
 *
 * ```js
 * const decoder = createSSEDecoder((event) => console.log(event.data));
 * for await (const chunk of response.body) decoder.feed(chunk);
 * decoder.finish();
 * ```
 *
 * @param {(event: SSEEvent) => void} take gets each event as soon as its blank line was read
 * @param {{maxLineBytes?: number, maxEventBytes?: number}} [limits] each 8 MiB
 * @returns {SSEDecoder}
 */
export function createSSEDecoder(take, { maxLineBytes, maxEventBytes = MAX_BYTES } = {}) {
  /** @type {string[]} */
  let data = [];
  let size = -1; // counts the LF between two lines
  let event = '';
  let id = '';
  let open = false; // a line of a frame was read, its blank line not yet
  const lines = createLineReader((line) => (line.length ? field(line) : dispatch()), maxLineBytes);

  /** @param {Uint8Array} line */
  function field(line) {
    const text = utf8.decode(line);
    const [name] = text.split(':', 1);
    if (!name) return; // a comment
    const value = text.slice(name.length + 1).replace(/^ /, '');
    open = true;
    if (name === 'data') {
      data.push(value);
      size += 1 + line.length - text.length + value.length; // in bytes: the field's name is one byte a letter
      if (size > maxEventBytes) throw tooLong(maxEventBytes);
    } else if (name === 'event') event = value;
    else if (name === 'id' && !value.includes('\0')) id = value;
    else if (name === 'retry' && /^\d{1,15}$/.test(value)) decoder.retryMs = +value;
  }

  function dispatch() {
    decoder.lastEventId = id;
    const complete = data.length && { data: data.join('\n'), event, id };
    data = [];
    size = -1;
    event = '';
    open = false;
    if (complete) take(complete);
  }

  /** @type {SSEDecoder} */
  const decoder = {
    retryMs: null,
    lastEventId: '',
    pending: false,
    feed: lines.feed,
    finish() {
      decoder.pending = open || (lines.cut() ?? COLON) !== COLON;
    },
  };
  return decoder;
}
