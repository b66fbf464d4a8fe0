/** One stream, and nothing else: what a second viewer sees, with a token in place of a key where keys are used. */

import { Answer } from "./answer.js";
import { h } from "./dom.js";
import { Meter } from "./meter.js";
import { client, clientWithToken } from "./session.js";

export class Watch {
  constructor() {
    this.body = h("div", { class: "column" });
    this.element = h("section", { class: "view watch", "aria-label": "A stream" }, h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "The answer" }, this.body));
  }

  /** Follows the stream of an address `#/watch/ID` or `#/watch/ID/TOKEN`. */
  open([id, token]) {
    this.arguments = [id, token];
    this.stream?.close();
    const reader = token ? clientWithToken(token) : client;
    this.stream = reader.attach(id);
    const answer = new Answer();
    const meter = new Meter();
    const stop = h("button", { type: "button", class: "danger", text: "Stop", onclick: () => this.stop(answer) });
    answer.addEventListener("state", () => (stop.hidden = Boolean(token) || this.stream.ended));
    stop.hidden = Boolean(token);
    this.body.replaceChildren(
      h("header", { class: "watch-head" }, h("h2", { text: "Following a stream" }), h("code", { class: "id", text: id.slice(0, 8) }), h("span", { class: "grow" }), stop),
      answer.element, meter.element);
    answer.follow(this.stream);
    meter.follow(this.stream);
  }

  close() {
    this.stream?.close();
  }

  unlocked() {
    if (this.arguments) this.open(this.arguments);
  }

  stop(answer) {
    this.stream.stop().catch((error) => answer.mark(this.stream.state, error));
  }
}
