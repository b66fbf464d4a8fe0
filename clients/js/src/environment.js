/**
 * What the client needs to know of the world; tests bring their own.
 *
 * @typedef {object} Environment
 * @property {() => number} now milliseconds on a monotonic clock
 * @property {() => number} wall milliseconds of the time of day, which goes on while a laptop sleeps
 * @property {() => number} random from 0 to 1
 * @property {(ms: number, action: () => void) => () => void} after a timer; returns what cancels it
 * @property {() => boolean} online false where the browser knows that there is no network
 * @property {(action: () => void) => () => void} onWake told when the network comes back and when the page becomes
 *   visible; returns what ends it
 */

/** @type {Environment} */
export const system = {
  now: () => performance.now(),
  wall: Date.now,
  random: Math.random,
  after(ms, action) {
    const timer = setTimeout(action, ms);
    return () => clearTimeout(timer);
  },
  online: () => globalThis.navigator?.onLine !== false,
  onWake(action) {
    const page = globalThis.document;
    const seen = () => void (page.hidden || action());
    globalThis.addEventListener?.('online', action);
    page?.addEventListener('visibilitychange', seen);
    return () => {
      globalThis.removeEventListener?.('online', action);
      page?.removeEventListener('visibilitychange', seen);
    };
  },
};

/**
 * Wait; an abort of the signal ends it early.
 *
 * @param {Environment} environment
 * @param {number} ms
 * @param {AbortSignal} signal
 */
export const sleep = ({ after }, ms, signal) =>
  new Promise((resolve) => {
    const cancel = after(ms, () => resolve(undefined));
    signal.addEventListener('abort', () => resolve(cancel()));
  });
