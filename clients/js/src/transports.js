import { pathOf } from './api.js';
import { sleep } from './environment.js';
import { lost } from './errors.js';
import { createLineReader } from './lines.js';
import { createSSEDecoder, utf8 } from './sse.js';

/** @import {Api} from './api.js' */
/** @import {Environment} from './environment.js' */
/** @import {StreamInfo} from './events.js' */

/**
 * What a transport reads, and whom it tells.
 *
 * @typedef {object} Reading
 * @property {Api} api
 * @property {Environment} environment
 * @property {typeof globalThis.EventSource | undefined} EventSource
 * @property {number} pollInterval
 * @property {string} id
 * @property {string} position the cursor to read on from
 * @property {AbortSignal} signal ends it
 * @property {(action: () => unknown) => void} took something came, be it a heartbeat; the action tells what
 * @property {(json: string) => void} record
 * @property {(info: StreamInfo) => void} info
 */

/**
 * Reads until the body ends; true where the server has nothing beyond the position. Throws `HeadraceError`, or
 * `UNAVAILABLE`.
 *
 * @typedef {(reading: Reading) => Promise<boolean>} Transport
 */

/** This runtime cannot do it at all: the next transport is tried. */
export const UNAVAILABLE = new Error('unavailable');

export const SSE = 'text/event-stream';
const NDJSON = 'application/x-ndjson';

/** @param {Reading} reading */
const eventsPath = ({ id, position }) => `${pathOf(id)}/events?format=native&last_event_id=${position}`;

/**
 * Read a body of records, one read at a time.
 *
 * @param {Response} response
 * @param {string} type the media type that was asked for
 * @param {Reading} reading
 */
export async function readBody(response, type, { took, record, signal }) {
  const actual = response.headers.get('content-type');
  if (!actual?.startsWith(type)) throw lost(actual); // a captive portal, or a proxy's own page
  const decoder =
    type === SSE
      ? createSSEDecoder(({ data }) => record(data))
      : createLineReader((line) => void (line.length && record(utf8.decode(line))));
  const reader = response.body?.getReader?.();
  if (!reader) {
    if (type === SSE) throw UNAVAILABLE;
    const bytes = new Uint8Array(await response.arrayBuffer());
    return took(() => decoder.feed(bytes));
  }
  // Some runtimes do not end the reading of a body when its request is aborted.
  signal.addEventListener('abort', () => void reader.cancel().catch(() => {}));
  for (;;) {
    const { done, value } = await reader.read();
    if (done || signal.aborted) return;
    took(() => decoder.feed(value));
  }
}

/** @param {string} accept @returns {Transport} */
const fetched = (accept) => async (reading) => {
  const response = await reading.api.request(eventsPath(reading), { accept, signal: reading.signal });
  if (response.status === 204) return true;
  await readBody(response, accept, reading);
  return false;
};

/**
 * Heartbeats are invisible to it, so a model that thinks for long looks like a dead connection: it costs a reconnect.
 *
 * @type {Transport}
 */
async function eventSource(reading) {
  const { EventSource, api, id, signal, took, record } = reading;
  if (!EventSource) throw UNAVAILABLE;
  let url = api.base + eventsPath(reading);
  if (api.secret) {
    const body = { mode: 'read', ttl_s: 300 };
    const { token } = await api.json(`${pathOf(id)}/token`, { method: 'POST', body, signal });
    url += `&token=${encodeURIComponent(token)}`;
  }
  const source = new EventSource(url);
  let opened = false;
  await new Promise((fail) => {
    signal.addEventListener('abort', fail);
    source.onerror = fail; // its own reconnecting knows neither our position nor our backoff
    source.onopen = () => took(() => (opened = true));
    source.onmessage = ({ data }) => {
      try {
        took(() => record(data));
      } catch {
        fail(undefined);
      }
    };
  });
  source.close();
  await api.state(id, signal); // it does not say why it ended: 401, 404 and a lost network come out here
  if (opened) return false;
  throw UNAVAILABLE;
}

/** @type {Transport} */
async function poll({ api, environment, id, signal, took, info, pollInterval }) {
  for (;;) {
    const state = await api.state(id, signal);
    if (signal.aborted) return false;
    took(() => info(state));
    if (state.state !== 'running') return false;
    await sleep(environment, pollInterval, signal);
  }
}

/** In the order in which they are tried. */
export const TRANSPORTS = { fetch: fetched(SSE), eventsource: eventSource, ndjson: fetched(NDJSON), poll };
