/** What a stream's speed is while it runs: numbers, and the gaps between what arrived, one bar for each read. */

import { h } from "./dom.js";
import { beforeFrame } from "./frames.js";
import { count, dollars, duration, rate } from "./format.js";
import { Sheet } from "./sheet.js";

/** Reads that are shown; older ones leave the plot. */
const BARS = 240;
const HEIGHT = 56;

const FIGURES = [
  ["ttft", "First token"],
  ["rate", "Tokens/s"],
  ["tokens", "Tokens"],
  ["gap", "Gap p95"],
  ["usage", "Usage in / out"],
  ["resumes", "Resumed"],
  ["cost", "Cost"],
];

export class Meter {
  constructor() {
    this.values = {};
    const list = h("dl", { class: "figures" }, ...FIGURES.map(([name, label]) => {
      this.values[name] = h("dd", { text: "–", "data-figure": name });
      return h("div", { class: `figure-${name}` }, h("dt", { text: label }), this.values[name]);
    }));
    this.canvas = h("canvas", { role: "img", "aria-label": "Gaps between tokens: nothing yet", height: HEIGHT });
    this.scale = h("figcaption", { class: "muted", text: "Gap between two reads" });
    this.element = h("div", { class: "meter" }, list, h("figure", { class: "gaps" }, this.canvas, this.scale));
    this.gaps = [];
    this.draw = this.draw.bind(this);
    this.sheet = new Sheet(this.canvas, () => this.stream && beforeFrame(this.draw));
  }

  /** Measures a stream from now on, and forgets the one before. */
  follow(stream) {
    this.gaps = [];
    this.cost = null;
    this.stream = stream;
    this.resumes = 0;
    this.seen = 0;
    let away = false;
    stream.on("state", (state) => {
      if (away && state === "streaming") this.resumes += 1;
      if (state !== "stalled") away = state === "reconnecting" || state === "offline";
      beforeFrame(this.draw);
    });
    stream.on("change", () => {
      if (this.stream === stream) this.note(stream.timing);
    });
    beforeFrame(this.draw);
  }

  /** US dollars at list prices; null where nobody knows. */
  price(cost) {
    this.cost = cost;
    beforeFrame(this.draw);
  }

  note(timing) {
    if (timing.tokens !== this.seen && timing.lastGap !== undefined) {
      this.gaps.push(timing.lastGap);
      if (this.gaps.length > 2 * BARS) this.gaps.splice(0, BARS);
    }
    this.seen = timing.tokens;
    beforeFrame(this.draw);
  }

  draw() {
    const { timing, usage } = this.stream;
    const texts = {
      ttft: duration(timing.ttft),
      rate: rate(timing.tokensPerSecond),
      tokens: timing.tokens ? count(timing.tokens) : "–",
      gap: duration(timing.gap(0.95)),
      usage: usage ? `${count(usage.input)} / ${count(usage.output)}${["estimated", "partial"].includes(usage.source) ? " est." : ""}` : "–",
      resumes: this.resumes ? `${this.resumes}×` : "–",
      cost: dollars(this.cost),
    };
    for (const [name, text] of Object.entries(texts)) {
      if (this.values[name].textContent !== text) this.values[name].textContent = text;
    }
    this.plot();
  }

  plot() {
    const gaps = this.gaps.slice(-BARS);
    const { width, context } = this.sheet;
    if (!width) return;
    context.clearRect(0, 0, width, HEIGHT);
    context.fillStyle = this.sheet.color;
    const highest = Math.max(...gaps, 1);
    const step = width / BARS;
    gaps.forEach((gap, index) => {
      // The root of the gap: one long silence must not flatten everything else.
      const height = Math.max(1, Math.sqrt(gap / highest) * (HEIGHT - 4));
      context.fillRect(index * step, HEIGHT - height, Math.max(1, step - 1), height);
    });
    const text = gaps.length ? `Gap between two reads, longest shown ${duration(highest)}` : "Gap between two reads";
    if (this.scale.textContent === text) return;
    this.scale.textContent = text;
    this.canvas.setAttribute("aria-label", text);
  }
}
