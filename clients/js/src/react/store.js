import { everyFrame } from './frames.js';

/**
 * What React's `useSyncExternalStore` wants: a value that stays the same until it has changed, at most once a frame. It
 * begins with the first component that reads it and ends with the last; React's strict mode takes a component away and
 * brings it back at once, which ends nothing.
 *
 * @template T
 */
export class Store {
  /** @type {T | undefined} */
  #value;
  /** @type {Set<() => void>} */
  #readers = new Set();
  #entered = false;
  #make;

  /** @param {() => T} make makes the value from what it is about */
  constructor(make) {
    this.#make = make;
  }

  /** For the subclass: begin. May be called again after `leave`. */
  enter() {}

  /** For the subclass: end. */
  leave() {}

  /** Something has changed: the value is made anew in the next frame. */
  touch = everyFrame(() => this.update());

  /** The same, now. */
  update() {
    this.#value = this.#make();
    for (const reader of [...this.#readers]) reader();
  }

  snapshot = () => (this.#value ??= this.#make());

  /** @param {() => void} reader */
  subscribe = (reader) => {
    this.#readers.add(reader);
    this.#settle();
    return () => {
      this.#readers.delete(reader);
      queueMicrotask(this.#settle); // not now: strict mode brings it back at once
    };
  };

  #settle = () => {
    const wanted = this.#readers.size > 0;
    if (wanted === this.#entered) return;
    this.#entered = wanted;
    if (wanted) this.enter();
    else this.leave();
  };
}
