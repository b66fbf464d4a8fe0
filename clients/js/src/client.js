import { createApi, pathOf } from './api.js';
import { system } from './environment.js';
import { createStream } from './stream.js';
import { TRANSPORTS } from './transports.js';

/** @import {HeaderSource} from './api.js' */
/** @import {Environment} from './environment.js' */
/** @import {StreamInfo} from './events.js' */
/** @import {Settings, TransportName} from './follower.js' */

/**
 * @typedef {object} ClientOptions
 * @property {string} [baseURL] the server's address, such as `https://llm.example.com`, with or without `/v1`; the page's
 *   own origin when left out
 * @property {string} [apiKey] sent as a bearer token. A key in a page is everybody's: give pages a server of their own
 *   that adds it
 * @property {HeaderSource} [headers] sent with every request; a function is asked each time
 * @property {typeof globalThis.fetch} [fetch]
 * @property {typeof globalThis.EventSource} [EventSource]
 * @property {TransportName[]} [transports] the ways to read a stream, in the order in which they are tried: `fetch`,
 *   `eventsource`, `ndjson`, `poll`
 * @property {number} [heartbeat] milliseconds, the server's `keepalive_seconds` (15,000): without a byte for two and a
 *   half of them the connection is taken for dead
 * @property {number} [bufferingTimeout] milliseconds (5,000) without a first byte, after which the client looks whether
 *   something holds the stream back
 * @property {number} [pollInterval] milliseconds (1,000) between two looks at the state, where nothing else works
 * @property {number} [startRetries] how often a request is sent again (5) that the server has not accepted yet; once
 *   it has, the client never gives up by itself
 * @property {Partial<Environment>} [environment] clock, chance and network, for tests
 */

/**
 * @typedef {object} Message
 * @property {'system' | 'developer' | 'user' | 'assistant' | 'tool'} role
 * @property {string | {type: string, text?: string, [field: string]: unknown}[]} [content]
 * @property {string} [name]
 * @property {{id: string, name: string, arguments: string}[]} [tool_calls]
 * @property {string} [call_id] of what a tool gave back
 *
 * @typedef {object} StartRequest
 * @property {string} model
 * @property {Message[]} messages
 * @property {Record<string, unknown>} [settings] `temperature`, `max_tokens`, `response_format`, …
 * @property {{name: string, description?: string, parameters?: Record<string, unknown>, strict?: boolean}[]} [tools]
 * @property {Record<string, string>} [metadata]
 *
 * @typedef {object} StartOptions
 * @property {string} [idempotencyKey] the same key and request give the same stream; a random one when left out
 * @property {'continue' | 'cancel' | `grace=${number}`} [onDisconnect] what happens when the last reader has left
 * @property {AbortSignal} [signal] closes the stream, which leaves it running: see `Stream.stop`
 *
 * @typedef {object} AttachOptions
 * @property {string} [position] a `stream.position`: only what came after it is read
 * @property {AbortSignal} [signal] closes it
 */

/** @typedef {ReturnType<typeof createClient>} Client a server's streams */

/**
 * ```js
 * const client = createClient({ baseURL: 'http://127.0.0.1:8000' });
 * const stream = client.start({ model: 'smollm2-135m', messages: [{ role: 'user', content: 'Hello' }] });
 * stream.on('text', (delta) => document.body.append(delta));
 * ```
 *
 * @param {ClientOptions} [options]
 * @throws {TypeError} `baseURL` is no address, or is missing where there is no page
 */
export function createClient({
  baseURL = '',
  apiKey,
  headers = {},
  fetch = (...request) => globalThis.fetch(...request),
  EventSource = globalThis.EventSource,
  transports = /** @type {TransportName[]} */ (Object.keys(TRANSPORTS)),
  heartbeat = 15_000,
  bufferingTimeout = 5000,
  pollInterval = 1000,
  startRetries = 5,
  environment,
} = {}) {
  const base = baseURL.replace(/(\/v1)?\/*$/, '');
  new URL(base || '.', globalThis.location?.href); // throws where there is no page that it could be relative to
  const api = createApi(base, fetch, apiKey, headers);
  /** @type {Settings} */
  const settings = {
    api,
    EventSource,
    transports: [...transports],
    heartbeat,
    bufferingTimeout,
    pollInterval,
    startRetries,
    environment: { ...system, ...environment },
  };
  return {
    /**
     * Ask a model. The stream is returned at once, and connects by itself.
     *
     * @param {StartRequest} request
     * @param {StartOptions} [options]
     */
    start(request, { idempotencyKey = randomKey(), onDisconnect, signal } = {}) {
      /** @type {Record<string, string>} */
      const headers = { 'idempotency-key': idempotencyKey };
      if (onDisconnect) headers['headrace-on-disconnect'] = onDisconnect;
      return createStream(settings, { start: { body: request, headers }, signal });
    },

    /**
     * Read a stream that somebody has started, from its beginning unless a position is given. Throws a `TypeError` where
     * that is none.
     *
     * @param {string} id
     * @param {AttachOptions} [options]
     */
    attach: (id, options) => createStream(settings, { id, ...options }),

    /** What there is of a stream, without following it. */
    get: api.state,

    /**
     * The caller's streams, newest first; `next` is the next page's `before`.
     *
     * @param {{state?: StreamInfo['state'], limit?: number, before?: string}} [query]
     * @returns {Promise<{data: Omit<StreamInfo, 'text' | 'choices' | 'usage'>[], has_more: boolean, next: string | null}>}
     */
    list: (query) => api.json(`/v1/streams?${new URLSearchParams(/** @type {Record<string, string>} */ (query))}`),

    /** Stop a stream that nobody here follows. */
    cancel: api.cancel,

    /**
     * Remove a stream; a running one is stopped first.
     *
     * @param {string} id
     */
    async delete(id) {
      await api.request(pathOf(id), { method: 'DELETE' });
    },
  };
}

/** 128 random bits; `randomUUID` is missing on pages that came without TLS. */
const randomKey = () => crypto.getRandomValues(new Uint32Array(4)).join('-');
