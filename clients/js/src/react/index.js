/** React hooks: one render a frame, however fast the model; strict mode and reloads ask for nothing twice. */
import { useCallback, useEffect, useMemo, useState, useSyncExternalStore } from 'react';
import { createClient } from '../index.js';
import { Chat } from './chat.js';
import { StreamStore } from './stream-store.js';

/** @import {Client, Stream} from '../index.js' */
/** @typedef {import('./chat.js').ChatMessage} ChatMessage */
/** @typedef {import('./chat.js').ChatOptions} ChatOptions */
/** @typedef {import('./chat.js').ChatSnapshot} ChatSnapshot */
/** @typedef {import('./stream-store.js').StreamSnapshot} StreamSnapshot */

/** The one of the page's own origin. @type {Client | undefined} */
let own;

/** @param {Client} [client] */
const clientOr = (client) => client ?? (own ??= createClient());

/**
 * Look at a stream: one that `client.start` gave, which you close, or one by its id, which is followed for as long as the
 * component is there.
 *
 * ```jsx
 * const { text, state, stop } = useStream(id, { client });
 * ```
 *
 * @param {Stream | string | null | undefined} source
 * @param {{client?: Client}} [options] the client of an id; that of the page's own origin when left out
 * @returns {StreamSnapshot & {stop: () => Promise<void>}}
 */
export function useStream(source, { client } = {}) {
  const store = useMemo(() => new StreamStore(source, () => clientOr(client)), [source, client]);
  const shown = useSyncExternalStore(store.subscribe, store.snapshot, store.snapshot);
  const { stream } = shown;
  const stop = useCallback(async () => stream?.stop(), [stream]);
  return { ...shown, stop };
}

/**
 * A conversation with a model.
 *
 * ```jsx
 * const { messages, busy, send, stop } = useHeadraceChat({ client, model: 'smollm2-135m' });
 * ```
 *
 * @param {ChatOptions} options `name`, `remember`, `client` and `messages` count at the first render, the others at each
 *   request
 * @returns {ChatSnapshot & Pick<Chat, 'send' | 'retry' | 'stop' | 'clear'>}
 */
export function useHeadraceChat(options) {
  const [chat] = useState(() => new Chat(options, () => clientOr(options.client)));
  useEffect(() => {
    chat.options = options;
  });
  const shown = useSyncExternalStore(chat.subscribe, chat.snapshot, chat.snapshot);
  const { send, retry, stop, clear } = chat;
  return { ...shown, send, retry, stop, clear };
}
