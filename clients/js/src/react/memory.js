/**
 * What a chat remembers over a reload of the page.
 *
 * @typedef {object} Memory
 * @property {() => Remembered | undefined} load
 * @property {(what: Remembered | undefined) => void} save
 */

/**
 * @typedef {object} Remembered
 * @property {import('./chat.js').ChatMessage[]} [messages]
 * @property {string} [streamId] the last answer
 * @property {boolean} [ended] whether it is among the messages
 */

/** @typedef {'session' | 'hash' | 'none'} MemoryKind */

/**
 * - `session`: messages and the running answer, in this tab's `sessionStorage`
 * - `hash`: the last answer's id alone, in the page's address, so that it can be passed on
 * - `none`: nothing
 *
 * @param {MemoryKind} kind
 * @param {string} name of the chat, where a page has several
 * @returns {Memory}
 */
export function memoryOf(kind, name) {
  const key = `headrace.${name}`;
  if (kind === 'session') return sessionMemory(key);
  if (kind === 'hash' && globalThis.location) return hashMemory(key);
  return { load: () => undefined, save: () => {} };
}

/** @param {string} key @returns {Memory} */
function sessionMemory(key) {
  return {
    load() {
      try {
        return JSON.parse(sessionStorage.getItem(key) ?? 'null') ?? undefined;
      } catch {
        return undefined; // there is no storage, or it is somebody else's
      }
    },
    save(what) {
      try {
        if (what) sessionStorage.setItem(key, JSON.stringify(what));
        else sessionStorage.removeItem(key);
      } catch {
        // It is full or forbidden: the chat goes on without.
      }
    },
  };
}

/** @param {string} key @returns {Memory} */
function hashMemory(key) {
  const read = () => new URLSearchParams(location.hash.slice(1));
  return {
    load() {
      const streamId = read().get(key);
      return streamId ? { streamId } : undefined;
    },
    save(what) {
      const hash = read();
      if (what?.streamId) hash.set(key, what.streamId);
      else hash.delete(key);
      const text = hash.toString();
      history.replaceState(history.state, '', text ? `#${text}` : location.pathname + location.search);
    },
  };
}
