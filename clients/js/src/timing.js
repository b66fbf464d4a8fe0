const KEPT = 4096;

/** What a reader saw of a stream's speed, on a monotonic clock, in milliseconds. */
export class Timing {
  /** From the request to the first piece of text, reasoning or arguments. @type {number | undefined} */
  ttft;
  /** Between the last two reads that brought something. @type {number | undefined} */
  lastGap;
  /** Pieces of text, reasoning and arguments; most model servers send one for each token. */
  tokens = 0;
  #began;
  #first = 0;
  #last = 0;
  #count = 0;
  /** The latest gaps, in no order. @type {number[]} */
  #gaps = [];

  /** @param {number} now */
  constructor(now) {
    this.#began = now;
  }

  /**
   * One read brought so many pieces.
   *
   * @param {number} now
   * @param {number} pieces
   */
  arrived(now, pieces) {
    if (this.tokens) this.#gaps[this.#count++ % KEPT] = this.lastGap = now - this.#last;
    else this.ttft = (this.#first = now) - this.#began;
    this.#last = now;
    this.tokens += pieces;
  }

  /**
   * The gap that a share of the latest 4,096 gaps does not exceed: `gap(0.95)`. Undefined before there is one.
   *
   * @param {number} share from 0 to 1
   */
  gap(share) {
    const gaps = [...this.#gaps].sort((a, b) => a - b);
    return gaps[Math.max(0, Math.ceil(share * gaps.length) - 1)];
  }

  /** Pieces after the first, in a second; undefined before there are two reads. */
  get tokensPerSecond() {
    return this.#count ? ((this.tokens - 1) * 1000) / (this.#last - this.#first) : undefined;
  }
}
