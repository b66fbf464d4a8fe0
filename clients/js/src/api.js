import { lost, refused } from './errors.js';

/** @import {StreamInfo} from './events.js' */

/** @typedef {Record<string, string> | (() => Record<string, string> | Promise<Record<string, string>>)} HeaderSource */

/**
 * @typedef {object} RequestOptions
 * @property {string} [accept]
 * @property {string} [method]
 * @property {{}} [body] JSON
 * @property {Record<string, string>} [headers]
 * @property {AbortSignal} [signal]
 */

/**
 * @typedef {object} Api the server's routes: one request each, no retries; all throw `HeadraceError`
 * @property {boolean} secret whether requests carry a key, which an `EventSource` cannot
 * @property {string} base the server's address
 * @property {(path: string, options?: RequestOptions) => Promise<Response>} request gives a success
 * @property {(path: string, options?: RequestOptions) => Promise<any>} json
 * @property {(id: string, signal?: AbortSignal) => Promise<StreamInfo>} state
 * @property {(id: string) => Promise<StreamInfo>} cancel gives the final state, or the running one where the stream's
 *   node has not confirmed yet
 */

/**
 * @param {string} base the server's address, without a slash at its end
 * @param {typeof globalThis.fetch} fetch
 * @param {string | undefined} apiKey
 * @param {HeaderSource} common sent with every request
 * @returns {Api}
 */
export function createApi(base, fetch, apiKey, common) {
  /** @type {Api} */
  const api = {
    secret: !!apiKey,
    base,
    async request(path, { accept = 'application/json', method, body, headers, signal } = {}) {
      const all = {
        accept,
        ...(body && { 'content-type': 'application/json' }),
        ...(apiKey && { authorization: `Bearer ${apiKey}` }),
        ...(typeof common === 'function' ? await common() : common),
        ...headers,
      };
      /** @type {RequestInit} */
      const init = { method, headers: all, body: JSON.stringify(body), signal, cache: 'no-store' };
      const response = await fetch(base + path, init).catch((cause) => {
        throw lost(cause);
      });
      if (!response.ok) throw await refused(response);
      return response;
    },
    json: async (path, options) => (await api.request(path, options)).json(),
    state: (id, signal) => api.json(pathOf(id), { signal }),
    cancel: (id) => api.json(`${pathOf(id)}/cancel`, { method: 'POST' }),
  };
  return api;
}

/** @param {string} id */
export const pathOf = (id) => `/v1/streams/${encodeURIComponent(id)}`;
