/** This visitor and the server: the key, the client, and requests that are no streams. */

import { createClient, HeadraceError } from "./client/index.js";
import { Network } from "./network.js";
import { keep, kept } from "./storage.js";

export const network = new Network();

let key = kept("key", "");
const askers = new Set();

/** Every request's headers; the key is in none of the addresses. */
const headers = () => (key ? { authorization: `Bearer ${key}` } : {});
const environment = { onWake: network.onWake, online: () => navigator.onLine && !network.isCut };

export const client = createClient({ fetch: network.fetch, headers, environment });

export const hasKey = () => key !== "";

export function useKey(value) {
  key = value.trim();
  keep("key", key || null);
}

/** Calls back when the server wants a key. */
export function onUnauthorized(ask) {
  askers.add(ask);
}

/** Tells whoever asks for keys that one is wanted, if that is what went wrong. */
export function noteError(error) {
  if (error?.status === 401) for (const ask of askers) ask(error);
}

/** A client that reads one stream by a token, without the key, as another person's browser would. */
export function clientWithToken(token) {
  const fetchWithToken = (input, init) => {
    const address = new URL(input, location.href);
    address.searchParams.set("token", token);
    return network.fetch(address, init);
  };
  return createClient({ fetch: fetchWithToken, environment });
}

/** Permission to read one stream, in the form of a client; where no keys are used, none is needed. */
export async function viewerOf(id) {
  if (!hasKey()) return { client, token: null };
  const { token } = await request(`/v1/streams/${id}/token`, { method: "POST" });
  return { client: clientWithToken(token), token };
}

/** One request that is answered with JSON, or throws a `HeadraceError` in the server's words. */
export async function request(path, { method = "GET", body, signal, accept = "application/json" } = {}) {
  const response = await send(path, { method, body, signal, accept });
  return response.status === 204 ? null : response.json();
}

/** One request; gives the response if it is a success. */
export async function send(path, { method = "GET", body, signal, accept } = {}) {
  const type = body === undefined ? {} : { "content-type": "application/json" };
  let response;
  try {
    response = await network.fetch(path, {
      method, signal, cache: "no-store", headers: { accept, ...type, ...headers() }, body: JSON.stringify(body),
    });
  } catch (cause) {
    if (signal?.aborted) throw cause;
    throw new HeadraceError("The server cannot be reached.", { code: "connection_lost", retryable: true }, cause);
  }
  if (response.ok) return response;
  const said = (await response.json().catch(() => null))?.error ?? {};
  const fallback = `The server answered ${response.status} ${response.statusText}.`;
  const error = new HeadraceError(said.message ?? fallback, {
    code: said.code ?? `http_${response.status}`,
    status: response.status,
    retryable: said.retryable ?? response.status >= 500,
    retryAfter: Number(response.headers.get("retry-after")) || undefined,
  });
  noteError(error);
  throw error;
}
