/** One stream as an answer on the page: its parts, where it stands, and what went wrong. */

import { h } from "./dom.js";
import { announce } from "./announcer.js";
import { beforeFrame } from "./frames.js";
import { Parts } from "./parts.js";
import { STATES, explain } from "./problems.js";
import { noteError } from "./session.js";

const SPOKEN = {
  streaming: "The answer has begun.",
  reconnecting: "The connection was lost. Reconnecting.",
  offline: "You are offline.",
  finished: "The answer is complete.",
  cancelled: "The answer was stopped.",
};

export class Answer extends EventTarget {
  /** `quiet`: a screen reader is told of another view of the same stream. */
  constructor({ quiet = false } = {}) {
    super();
    this.quiet = quiet;
    this.body = h("div", { class: "answer-body" });
    this.note = h("p", { class: "note", hidden: true });
    this.state = h("p", { class: "state", "data-state": "connecting" }, h("span", { class: "dot", "aria-hidden": "true" }));
    this.stateText = document.createTextNode(STATES.connecting);
    this.state.append(this.stateText);
    this.element = h("div", { class: "answer" }, this.body, this.state, this.note);
    this.parts = new Parts(this.body);
  }

  /** Follows a stream of the client; what it has shown is never shown again. */
  follow(stream) {
    this.stream = stream;
    const draw = () => this.draw();
    stream.on("change", () => beforeFrame(draw));
    stream.on("state", (state) => this.changed(state));
    stream.on("end", () => {
      noteError(stream.error);
      this.dispatchEvent(new Event("end"));
    });
    this.changed(stream.state);
    beforeFrame(draw);
    return this;
  }

  /** Shows an answer that ended on an earlier visit of the page. */
  show({ parts, state, error }) {
    this.parts.update(parts, true);
    this.mark(state, error);
  }

  changed(state) {
    const error = this.stream.error;
    this.mark(state, error);
    if (!this.quiet) announce(state === "failed" ? `${explain(error).title}.` : (SPOKEN[state] ?? ""));
    this.dispatchEvent(new Event("state"));
  }

  mark(state, error) {
    this.state.dataset.state = state;
    this.stateText.data = STATES[state] ?? state;
    if (!error) return;
    const { title, text } = explain(error);
    this.note.replaceChildren(h("strong", { text: title }), ` ${text}`);
    this.note.hidden = false;
  }

  draw() {
    this.parts.update(this.stream.parts, this.stream.ended);
    this.dispatchEvent(new Event("draw"));
  }
}
