import { sleep } from './environment.js';
import { HeadraceError, isFinal, lost } from './errors.js';
import { readBody, SSE, TRANSPORTS, UNAVAILABLE } from './transports.js';

/** @import {Api} from './api.js' */
/** @import {Environment} from './environment.js' */
/** @import {StreamInfo} from './events.js' */
/** @import {Reading} from './transports.js' */

/** @typedef {keyof typeof TRANSPORTS} TransportName */

/**
 * @typedef {object} Settings
 * @property {Api} api
 * @property {Environment} environment
 * @property {typeof globalThis.EventSource | undefined} EventSource
 * @property {number} heartbeat milliseconds between the server's heartbeats
 * @property {number} bufferingTimeout milliseconds without a byte after which the state is looked at
 * @property {number} pollInterval
 * @property {number} startRetries
 * @property {TransportName[]} transports the first is the one in use; those that failed are taken away, for all streams
 *   and for good: after `poll`, records would repeat what the state has said
 */

/**
 * What a follower reads for.
 *
 * @typedef {object} Sink
 * @property {boolean} partial whether it began at a position
 * @property {() => boolean} over whether no more is wanted
 * @property {() => number} next the `seq` of the record that comes next
 * @property {() => string} position
 * @property {(id: string) => void} identified
 * @property {(state: 'streaming' | 'stalled' | 'reconnecting' | 'offline') => void} state
 * @property {(json: string) => void} record
 * @property {(info: StreamInfo) => void} info
 * @property {() => void} flush all that one read brought was told
 */

/**
 * @typedef {object} Follower reads one stream to its end, over as many connections as it takes
 * @property {() => Promise<void>} run resolves when the sink wants no more; throws what cannot heal
 * @property {() => void} leave ends the connection or the waiting for one
 * @property {() => Promise<void>} stop stops the stream on the server, however long it takes to reach it; where nothing
 *   was started yet, nothing is. Throws what cannot heal
 * @property {(id: string) => void} identified the server has said the stream's name
 */

/** @typedef {{body: {}, headers: Record<string, string>}} Start */

const FIRST_DELAY = 500;
const LONGEST_DELAY = 8000;
const OFFLINE_DELAY = 30_000; // browsers are wrong about being offline at times

/**
 * @param {Settings} settings
 * @param {Sink} sink
 * @param {string | undefined} id
 * @param {Start | undefined} start how the stream is started, where there is no id
 * @returns {Follower}
 */
export function createFollower(settings, sink, id, start) {
  const { api, environment, heartbeat, transports } = settings;
  const { now, wall, online, after } = environment;
  const { over } = sink;
  const left = new AbortController();
  let connection = left;
  /** The waiting between two connections. @type {AbortController | undefined} */
  let pause;
  let patient = false; // the server said when to come back
  let stopped = false;
  let heard = false; // a byte came over this connection
  let heardAt = [0, 0]; // on both clocks
  let probeAt = 0;

  const wake = () => pause?.abort();

  /** Whether the connection still lives: asked every few seconds, and when the page or the network comes back. */
  function watch() {
    // The time of day counts too: a monotonic clock may stand still while a laptop is closed.
    const silence = Math.max(now() - heardAt[0], wall() - heardAt[1]);
    if (over() || silence > 2.5 * heartbeat) connection.abort(lost());
    else if (heard && silence > 1.25 * heartbeat) sink.state('stalled');
    else if (!heard && now() > probeAt && transports[1]) probe(connection);
  }

  /**
   * Nothing has come over a connection: if the stream moves on all the same, something holds it back.
   *
   * @param {AbortController} silent
   */
  async function probe(silent) {
    const { signal } = silent;
    probeAt = Infinity;
    try {
      if (!id) await startApart(signal);
      const { position } = await api.state(id ?? '', signal);
      if (position > sink.next() && !heard && !signal.aborted) silent.abort(UNAVAILABLE);
    } catch {
      // The connection itself tells what is wrong.
    }
    probeAt = now() + settings.bufferingTimeout;
  }

  /**
   * Ask for a stream. The same idempotency key goes with every attempt, so there is one, however often it is asked for.
   *
   * @param {AbortSignal} signal
   * @param {string} [accept]
   */
  const ask = (signal, accept) => api.request('/v1/streams', { method: 'POST', accept, signal, ...start });

  /** Only get the name; the stream is read by another request. @param {AbortSignal} signal */
  async function startApart(signal) {
    const response = await ask(signal);
    identified((await response.json()).id);
  }

  /** @param {string} name */
  function identified(name) {
    if (id) return;
    sink.identified((id = name));
    if (stopped) stop().catch(() => {}); // the reader meets the same error
  }

  /**
   * One connection; returns why there must be another one, or nothing if at once.
   *
   * @returns {Promise<HeadraceError | void>}
   */
  async function connect() {
    const { signal } = (connection = new AbortController());
    /** @type {any} */
    let unwatch; // set by the first tick
    const tick = () => {
      watch();
      unwatch = after(heartbeat / 6, tick);
    };
    heard = false;
    heardAt = [now(), wall()];
    probeAt = now() + settings.bufferingTimeout;
    tick();
    const failure = await read(signal).catch((error) => error);
    unwatch();
    const unavailable = [failure, signal.reason].includes(UNAVAILABLE);
    connection.abort();
    if (!unavailable) return failure && lost(failure);
    if (transports[1]) transports.shift();
    else return new HeadraceError('Streams cannot be read here.', { code: 'unsupported', status: 400 });
  }

  /**
   * @param {AbortSignal} signal
   * @returns {Promise<HeadraceError | void>} as `connect`
   */
  async function read(signal) {
    /** @type {Reading} */
    const reading = { ...settings, ...sink, id: id ?? '', position: sink.position(), signal, took };
    let [name] = transports;
    if (name === 'poll' && sink.partial) name = 'ndjson'; // a state cannot say what came after a position
    if (!id) {
      if (name !== 'fetch') return startApart(signal);
      await readBody(await ask(signal, SSE), SSE, reading); // the first record has the id
    } else if (await TRANSPORTS[name](reading)) sink.info(await api.state(id, signal));
    return lost();
  }

  /** @param {() => unknown} action */
  function took(action) {
    heard = true;
    heardAt = [now(), wall()];
    sink.state('streaming');
    action();
    sink.flush();
  }

  /** Exponential, with full jitter. @param {number} failures */
  const backoff = (failures) => environment.random() * Math.min(LONGEST_DELAY, FIRST_DELAY * 2 ** failures);

  /**
   * Wait for the next connection; what wakes it ends it.
   *
   * @param {number} failures
   * @param {number} least
   * @returns {Promise<boolean>} whether it was woken
   */
  async function wait(failures, least) {
    const { signal } = (pause = new AbortController());
    patient = least > 0;
    sink.state(online() ? 'reconnecting' : 'offline');
    await sleep(environment, Math.max(online() ? backoff(failures) : OFFLINE_DELAY, least), signal);
    pause = undefined;
    return signal.aborted;
  }

  async function run() {
    const unwake = environment.onWake(() => {
      if (!pause) watch();
      else if (!patient) wake();
    });
    try {
      for (let failures = 0; !over();) {
        const before = [sink.next(), id].join();
        const error = await connect();
        if (over()) return;
        if (stopped && !id) return await withdraw();
        if (!error) continue;
        // What was never accepted is given up on: nobody waits for ever for a first word.
        const tired = (failures >= settings.startRetries && online()) || (error.status && !error.retryable);
        if (isFinal(error) || (!id && tired)) throw error;
        if (before !== [sink.next(), id].join()) failures = 0;
        failures = (await wait(failures, (error.retryAfter ?? 0) * 1000)) ? 0 : failures + 1;
      }
    } finally {
      unwake();
    }
  }

  /** Stopped before it had a name: should a request have arrived all the same, its key finds what it began. */
  async function withdraw() {
    const body = { idempotency_key: start?.headers['idempotency-key'], route: '/v1/streams' };
    await api.request('/v1/streams/cancel', { method: 'POST', body }).catch(() => {});
  }

  async function stop() {
    stopped = true;
    for (let failures = 0; id && !over(); failures++) {
      try {
        await api.cancel(id);
        break;
      } catch (cause) {
        const error = lost(cause);
        if (isFinal(error)) throw error;
        await sleep(environment, backoff(failures), left.signal);
      }
    }
    wake();
  }

  const leave = () => {
    left.abort();
    connection.abort();
    wake();
  };
  return { run, leave, stop, identified };
}
