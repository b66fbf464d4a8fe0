import { Answer, terminalOf } from './answer.js';
import { HeadraceError, lost } from './errors.js';
import { createFollower } from './follower.js';
import { Timing } from './timing.js';

/** @import {Part} from './answer.js' */
/** @import {StreamEvent, StreamRecord} from './events.js' */
/** @import {Settings, Start} from './follower.js' */

/**
 * Where a stream stands, as its reader sees it.
 *
 * - `connecting`: asked for, nothing has come yet
 * - `streaming`: connected; the model may still be thinking
 * - `stalled`: connected, but even the heartbeat is late
 * - `reconnecting`: the connection was lost; what has arrived stays, the rest follows
 * - `offline`: the same, and the browser knows that there is no network
 * - `finished`, `failed`, `cancelled`: the stream has ended
 * - `closed`: this reader has left; the stream may run on
 *
 * @typedef {'connecting' | 'streaming' | 'stalled' | 'reconnecting' | 'offline'} RunningState
 * @typedef {RunningState | 'finished' | 'failed' | 'cancelled' | 'closed'} StreamState
 */

/**
 * What `on` can listen to.
 *
 * @typedef {object} Listeners
 * @property {(event: StreamEvent) => void} event every event, in order
 * @property {(delta: string, text: string) => void} text a piece of the first choice's text, and all of it so far
 * @property {(state: StreamState) => void} state it has changed
 * @property {() => void} change anything has changed; once for each read, however much that brought
 * @property {() => void} end it is over, for whichever reason
 */

/**
 * One answer, followed over as many connections as it takes. Made by `client.start` and `client.attach`.
 *
 * ```js
 * for await (const event of stream) if (event.type === 'text.delta') show(event.text);
 * ```
 *
 * Every `for await` gets all events from the first one on; leaving the loop leaves neither the stream nor the connection
 * (`close()` does). It throws where the stream failed, and ends where it was stopped or closed.
 *
 * @typedef {ReturnType<typeof createStream>} Stream
 */

const GONE = 'The server no longer has this answer: it has expired, or the server was restarted.';

/**
 * @param {Settings} settings
 * @param {{id?: string, start?: Start, position?: string, signal?: AbortSignal}} what
 */
export function createStream(settings, { id, start, position = 'n1.0', signal }) {
  const { now } = settings.environment;
  const kept = /^(n\d+)\.(\d+)$/.exec(position);
  if (!kept) throw new TypeError(`"${position}" is no position of a stream`);
  let next = +kept[2];
  const partial = next > 0;
  const answer = new Answer();
  const timing = new Timing(now());
  const ready = defer();
  const done = defer();
  let changed = defer();
  /** @type {StreamEvent[]} */
  const log = [];
  /** @type {{[name: string]: Set<(...args: any[]) => void>}} */
  const listeners = {};
  /** @type {StreamState} */
  let state = 'connecting';
  let over = false;
  /** @type {HeadraceError | undefined} */
  let error;
  let pieces = 0; // that the read under way has brought

  /**
   * @param {keyof Listeners} name
   * @param {...unknown} args
   */
  function emit(name, ...args) {
    for (const listener of listeners[name] ?? []) {
      try {
        listener(...args);
      } catch (defect) {
        // The page is to hear of its defect, the stream not to suffer from it.
        queueMicrotask(() => {
          throw defect;
        });
      }
    }
  }

  function tell() {
    changed.resolve();
    changed = defer();
    emit('change');
  }

  /**
   * @param {StreamState} to
   * @param {boolean} [last]
   */
  function change(to, last = false) {
    if (state === to || over) return;
    state = to;
    over = last;
    emit('state', to);
    tell();
  }

  /** @param {StreamState} how */
  function end(how) {
    if (over) return;
    change(how, true);
    ready.reject(error ?? unfinished());
    if (error) done.reject(error);
    else done.resolve(how);
    emit('end');
    if (how === 'closed') follower.leave();
  }

  /** @param {HeadraceError} why */
  function fail(why) {
    if (over) return;
    error = why;
    error.partial = answer.text;
    if (error.status === 404 && id) error.message = GONE;
    end('failed');
  }

  const unfinished = () => new HeadraceError(`The stream was ${state}.`, { code: state, partial: answer.text });

  /** A read is over: the pieces that it brought are one arrival. */
  function flush() {
    if (pieces) timing.arrived(now(), pieces);
    pieces = 0;
    tell();
  }

  /** @param {StreamEvent[]} events */
  function apply(events) {
    for (const event of events) {
      const had = answer.text.length;
      answer.apply(event);
      log.push(event);
      if (event.type === 'stream.start') follower.identified(event.id);
      if (event.type === 'text.delta' || event.type === 'args.delta') pieces++;
      emit('event', event);
      // Not a slice of the text: it is joined from its pieces when it is looked into, which would be once for each.
      if (event.type === 'text.delta' && answer.text.length > had) emit('text', event.text, answer.text);
    }
    const { terminal } = answer;
    if (!terminal) return;
    flush();
    if (terminal.type !== 'failed') return end(terminal.type);
    const { code, status, retryable, param, retry_after: retryAfter } = terminal;
    fail(new HeadraceError(terminal.message, { code, status, retryable, param, retryAfter }));
  }

  const follower = createFollower(
    settings,
    {
      partial,
      over: () => over,
      next: () => next,
      position: () => stream.position,
      identified: (name) => ready.resolve((id = name)),
      state: change,
      record(json) {
        /** @type {StreamRecord} */
        const { seq, events } = JSON.parse(json);
        if (over || seq < next) return; // it was here before
        if (seq > next) throw lost(); // one is missing: it is asked for again
        next++;
        apply(events);
      },
      info: (info) => apply(partial ? terminalOf(info) : answer.eventsTo(info)),
      flush,
    },
    id,
    start,
  );

  const stream = {
    /** The stream's name on the server: to attach to it later, or from elsewhere. Undefined until the server said it. */
    get id() {
      return id;
    },
    /** Resolves with the id; rejects where the stream never began. @type {Promise<string>} */
    ready: ready.promise,
    /** Where it stands. */
    get state() {
      return state;
    },
    /** Whether nothing more will come. */
    get ended() {
      return over;
    },
    /** The text of the first choice so far. */
    get text() {
      return answer.text;
    },
    /** Text, reasoning and tool calls, in the order in which they began. They grow in place. @type {readonly Part[]} */
    parts: answer.parts,
    /** Tokens so far, from the first time that they were counted. */
    get usage() {
      return answer.usage;
    },
    /** The model, as it was asked for. */
    get model() {
      return answer.model;
    },
    /** Why a finished answer ended: `stop`, `length`, `tool_calls`, `content_filter` or the vendor's word. */
    get finishReason() {
      return answer.terminal?.type === 'finished' ? answer.terminal.reason : undefined;
    },
    /** What this reader saw of the speed. */
    timing,
    /** Why it failed. */
    get error() {
      return error;
    },
    /** How far it was read, as text: `client.attach(id, {position})` goes on from there. */
    get position() {
      return `${kept[1]}.${next}`;
    },
    /**
     * Resolves with the state when it has finished, was stopped or was closed. Rejects where it failed: the text so far is
     * in the error's `partial`, and stays in `text`.
     *
     * @type {Promise<StreamState>}
     */
    done: done.promise,
    /**
     * The whole text. Rejects where there is no whole text, because it failed, was stopped (`cancelled`) or closed
     * (`closed`); what there is of it is in the error's `partial`.
     *
     * @returns {Promise<string>}
     */
    async finalText() {
      await done.promise;
      if (state !== 'finished') throw unfinished();
      return answer.text;
    },
    /**
     * Listen; what is returned ends it.
     *
     * @template {keyof Listeners} N
     * @param {N} name
     * @param {Listeners[N]} listener
     */
    on(name, listener) {
      const all = (listeners[name] ??= new Set());
      all.add(listener);
      return () => void all.delete(listener);
    },
    /**
     * Stop the model; what it has said stays. Resolves when the stream has ended, rejects where the server refuses. While
     * the server cannot be reached it is tried again; a stream that the server has not accepted yet ends at once.
     */
    async stop() {
      if (over) return;
      await follower.stop();
      await done.promise.catch(() => {});
    },
    /** Leave. The stream runs on, or not, by the server's policy; anybody can attach to it again. */
    close: () => end('closed'),
    /** @returns {AsyncGenerator<StreamEvent, void, undefined>} */
    async *[Symbol.asyncIterator]() {
      for (let at = 0; ;) {
        const { promise } = changed;
        while (at < log.length) yield log[at++];
        if (over) break;
        await promise;
      }
      if (error) throw error;
    },
  };

  signal?.addEventListener('abort', stream.close);
  if (signal?.aborted) stream.close();
  follower
    .run()
    .then(() => end('cancelled'), fail) // it returns before the end where it was stopped before it began
    .then(() => signal?.removeEventListener('abort', stream.close));
  return stream;
}

/** A promise with its handles; nobody needs to catch it. */
function defer() {
  /** @type {(value?: any) => void} */
  let resolve = () => {};
  /** @type {(reason: unknown) => void} */
  let reject = () => {};
  /** @type {Promise<any>} */
  const promise = new Promise((yes, no) => {
    resolve = yes;
    reject = no;
  });
  promise.catch(() => {});
  return { promise, resolve, reject };
}
