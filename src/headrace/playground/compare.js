/** The same question twice, streamed and in one piece, with the clock running. */

import { Answer } from "./answer.js";
import { h } from "./dom.js";
import { duration } from "./format.js";
import { ModelPicker } from "./models.js";
import { Parts } from "./parts.js";
import { explain } from "./problems.js";
import { client, request } from "./session.js";
import { keep, kept } from "./storage.js";

/** One side: a clock that runs until its answer is whole, and the moment at which there was something to read. */
class Side {
  constructor(title, hint) {
    this.clock = h("span", { class: "clock", text: "0.00 s" });
    this.first = h("span", { class: "muted", text: hint });
    this.body = h("div", { class: "side-body" });
    this.element = h("section", { class: "side", "aria-label": title },
      h("header", {}, h("h2", { text: title }), this.clock, this.first), this.body);
  }

  start() {
    this.began = performance.now();
    this.firstAt = undefined;
    this.running = true;
    this.body.replaceChildren();
    this.first.textContent = "nothing to read yet";
    const tick = () => {
      if (!this.running) return;
      this.clock.textContent = clockText(performance.now() - this.began);
      requestAnimationFrame(tick);
    };
    tick();
  }

  sawFirst() {
    if (this.firstAt !== undefined) return;
    this.firstAt = performance.now() - this.began;
    this.first.textContent = `readable after ${duration(this.firstAt)}`;
  }

  end() {
    this.running = false;
    this.clock.textContent = clockText(performance.now() - this.began);
  }
}

const clockText = (milliseconds) => `${(milliseconds / 1000).toFixed(2)} s`;

export class Compare {
  constructor() {
    this.picker = new ModelPicker("compare-model");
    this.text = h("textarea", { id: "compare-message", rows: 2 });
    this.text.value = kept("compare", "Write one paragraph about a river.");
    this.text.addEventListener("input", () => keep("compare", this.text.value));
    this.runButton = h("button", { type: "submit", class: "primary", text: "Run both" });
    this.stopButton = h("button", { type: "button", class: "danger", text: "Stop", hidden: true, onclick: () => this.stop() });
    this.left = new Side("Streaming", "shows each token as it comes");
    this.right = new Side("Not streaming", "shows the answer when it is whole");
    this.verdict = h("p", { class: "verdict", role: "status" });
    const form = h("form", { class: "composer", "aria-label": "Compare" },
      h("label", { class: "hidden", for: "compare-message", text: "Message" }), this.text,
      h("div", { class: "composer-bar" }, this.picker.element, h("span", { class: "grow" }), this.stopButton, this.runButton));
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.run();
    });
    this.element = h("section", { class: "view compare", "aria-label": "Compare" }, form, this.verdict, h("div", { class: "sides" }, this.left.element, this.right.element));
  }

  async load() {
    await this.picker.load().catch((error) => (this.verdict.textContent = Object.values(explain(error)).join(". ")));
  }

  unlocked() {
    this.load();
  }

  async run() {
    if (this.aborter || this.picker.demand()) return;
    this.aborter = new AbortController();
    this.toggle(true);
    this.verdict.textContent = "";
    const messages = [{ role: "user", content: this.text.value.trim() || "Hello" }];
    await Promise.allSettled([this.streamed(messages), this.whole(messages)]);
    this.aborter = null;
    this.toggle(false);
    this.conclude();
  }

  toggle(running) {
    this.runButton.hidden = running;
    this.stopButton.hidden = !running;
  }

  stop() {
    this.stream?.stop();
    this.aborter?.abort();
  }

  async streamed(messages) {
    this.left.start();
    const answer = new Answer();
    this.left.body.append(answer.element);
    this.stream = client.start({ model: this.picker.value, messages });
    answer.addEventListener("draw", () => this.stream.timing.tokens && this.left.sawFirst());
    answer.follow(this.stream);
    await this.stream.done.catch(() => {});
    this.left.end();
  }

  async whole(messages) {
    this.right.start();
    const parts = new Parts(this.right.body);
    try {
      const body = { model: this.picker.value, messages };
      const answer = await request("/v1/chat/completions", { method: "POST", body, signal: this.aborter.signal });
      parts.update([{ kind: "text", text: answer.choices[0].message.content ?? "", done: true }], true);
      this.right.sawFirst();
    } catch (error) {
      const { title, text } = this.aborter.signal.aborted ? { title: "Stopped", text: "" } : explain(error);
      this.right.body.append(h("p", { class: "note" }, h("strong", { text: title }), ` ${text}`));
    }
    this.right.end();
  }

  conclude() {
    const [streamed, whole] = [this.left.firstAt, this.right.firstAt];
    if (streamed === undefined || whole === undefined) return;
    this.verdict.textContent = `Streaming was readable ${duration(Math.abs(whole - streamed))} ${whole >= streamed ? "earlier" : "later"}.`;
  }
}
