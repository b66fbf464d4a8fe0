/** A stream's records over time: how many there were when, the first token, and the longest silences. */

import { h } from "./dom.js";
import { beforeFrame } from "./frames.js";
import { duration, plural } from "./format.js";
import { Sheet } from "./sheet.js";

const HEIGHT = 120;
const MARGIN = 18;
/** Silences that are marked, and how many times the usual one they last at least. */
const MARKED = 3;
const UNUSUAL = 4;
const CONTENT = new Set(["text.delta", "args.delta"]);

export class Timeline {
  constructor() {
    this.canvas = h("canvas", { role: "img", "aria-label": "Records over time", height: HEIGHT });
    this.words = h("figcaption", { class: "muted" });
    this.element = h("figure", { class: "timeline" }, this.canvas, this.words);
    this.draw = this.draw.bind(this);
    this.sheet = new Sheet(this.canvas, () => beforeFrame(this.draw));
    this.reset();
  }

  reset() {
    this.times = [];
    this.first = undefined;
    this.silences = [];
    this.total = 0;
  }

  /** Takes the next record. */
  add({ at_ms: at, events }) {
    const index = this.times.length;
    if (index > 0) this.pause(this.times[index - 1], at);
    this.times.push(at);
    if (this.first === undefined && events.some((event) => CONTENT.has(event.type))) this.first = at;
    beforeFrame(this.draw);
  }

  /** Notes a silence if it is among the longest; the wait for the first token has a mark of its own. */
  pause(from, to) {
    if (this.first === undefined || to - from < 1) return;
    this.total += to - from;
    if (this.silences.length === MARKED && to - from <= this.silences.at(-1).length) return;
    this.silences.push({ from, to, length: to - from });
    this.silences.sort((one, other) => other.length - one.length);
    this.silences.length = Math.min(MARKED, this.silences.length);
  }

  marked() {
    const usual = this.total / Math.max(1, this.times.length);
    return this.silences.filter((silence) => silence.length > UNUSUAL * usual);
  }

  draw() {
    const { context, width, color, muted, warning, font } = this.sheet;
    const { times } = this;
    this.describe();
    if (!width) return;
    context.clearRect(0, 0, width, HEIGHT);
    if (times.length < 2) return;
    const [from, to] = [times[0], Math.max(times.at(-1), times[0] + 1)];
    const x = (at) => ((at - from) / (to - from)) * (width - 2) + 1;
    const y = (index) => HEIGHT - MARGIN - (index / (times.length - 1)) * (HEIGHT - MARGIN - 8);
    context.globalAlpha = 0.22;
    context.fillStyle = warning;
    for (const silence of this.marked()) context.fillRect(x(silence.from), 0, Math.max(1, x(silence.to) - x(silence.from)), HEIGHT - MARGIN);
    context.globalAlpha = 1;
    context.strokeStyle = muted;
    context.beginPath();
    context.moveTo(0, HEIGHT - MARGIN + 0.5);
    context.lineTo(width, HEIGHT - MARGIN + 0.5);
    context.stroke();
    this.line(context, color, x, y, width);
    this.labels(context, font, x, width, to - from);
  }

  /** One point for each pixel: more cannot be seen. */
  line(context, color, x, y, width) {
    const step = Math.max(1, Math.floor(this.times.length / (2 * width)));
    context.strokeStyle = color;
    context.lineWidth = 1.5;
    context.beginPath();
    for (let index = 0; index < this.times.length; index += step) context.lineTo(x(this.times[index]), y(index));
    context.lineTo(x(this.times.at(-1)), y(this.times.length - 1));
    context.stroke();
    context.lineWidth = 1;
  }

  labels(context, font, x, width, span) {
    context.font = font;
    context.fillStyle = this.sheet.text;
    context.textAlign = "start";
    context.fillText("0", 1, HEIGHT - 4);
    context.textAlign = "end";
    context.fillText(duration(span), width - 1, HEIGHT - 4);
    if (this.first === undefined) return;
    const at = Math.round(x(this.first)) + 0.5;
    context.setLineDash([3, 3]);
    context.strokeStyle = this.sheet.text;
    context.beginPath();
    context.moveTo(at, 0);
    context.lineTo(at, HEIGHT - MARGIN);
    context.stroke();
    context.setLineDash([]);
    context.textAlign = at > width / 2 ? "end" : "start";
    context.fillText(`first token ${duration(this.first - this.times[0])}`, at + (at > width / 2 ? -5 : 5), 12);
  }

  describe() {
    const { times } = this;
    if (!times.length) return this.say("No records yet.");
    const parts = [`${plural(times.length, "record")} in ${duration(times.at(-1) - times[0])}`];
    if (this.first !== undefined) parts.push(`first token after ${duration(this.first - times[0])}`);
    if (this.silences.length) parts.push(`longest gap ${duration(this.silences[0].length)}`);
    this.say(parts.join(" · "));
  }

  say(text) {
    if (this.words.textContent === text) return;
    this.words.textContent = text;
    this.canvas.setAttribute("aria-label", text);
  }
}
