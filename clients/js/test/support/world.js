/** A clock that only moves when it is told to, and a network that comes and goes. */
export class World {
  time = 0;
  /** What the time of day is ahead by: a lid that was closed. */
  slept = 0;
  isOnline = true;
  /** What `random` gives. */
  chance = 1;
  #timers = new Map();
  #wakers = new Set();
  #serial = 0;

  environment = {
    now: () => this.time,
    wall: () => 1e12 + this.time + this.slept,
    random: () => this.chance,
    after: (ms, action) => {
      const name = ++this.#serial;
      this.#timers.set(name, { at: this.time + ms, action });
      return () => this.#timers.delete(name);
    },
    online: () => this.isOnline,
    onWake: (action) => {
      this.#wakers.add(action);
      return () => this.#wakers.delete(action);
    },
  };

  get timers() {
    return this.#timers.size;
  }

  /** Let time pass; whatever is due happens in order, and everything that follows from it. */
  async advance(ms) {
    const end = this.time + ms;
    for (;;) {
      await settle();
      const [name, timer] = [...this.#timers].sort(([, a], [, b]) => a.at - b.at)[0] ?? [];
      if (!timer || timer.at > end) break;
      this.#timers.delete(name);
      this.time = timer.at;
      timer.action();
    }
    this.time = end;
    await settle();
  }

  /** The page became visible, or the network came back. */
  async wake() {
    for (const action of [...this.#wakers]) action();
    await settle();
  }
}

/** Everything that is ready to run has run: promises, and streams that hop over several turns. */
export async function settle() {
  for (let turn = 0; turn < 8; turn++) await new Promise(setImmediate);
}

/** Numbers from 0 to 1 that are the same every time (mulberry32). */
export function seeded(seed) {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}
