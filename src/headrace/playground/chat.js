/** The conversation: questions, answers while they stream, and what can be done with them. */

import { Answer } from "./answer.js";
import { Composer } from "./composer.js";
import { Conversation, plainParts, textOf } from "./conversation.js";
import { copy, h } from "./dom.js";
import { count, duration, rate } from "./format.js";
import { Live } from "./live.js";
import { ModelPicker } from "./models.js";
import { explain } from "./problems.js";
import { client } from "./session.js";

/** Pixels from the end within which the reader is taken to want to stay there. */
const NEAR = 80;
const EXAMPLES = [
  "Write one paragraph about a river.",
  "Explain in three bullet points how a water mill works.",
  "Write a Python function that reverses a list, and show how it is called.",
];

export class Chat {
  constructor() {
    this.conversation = new Conversation();
    this.picker = new ModelPicker("model");
    this.live = new Live();
    this.composer = new Composer({ picker: this.picker, send: (text, settings) => this.ask(text, settings), stop: () => this.stop() });
    this.list = h("div", { class: "column", role: "log", "aria-label": "Conversation", "aria-live": "off" });
    this.scroller = h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Messages" }, this.list);
    this.down = h("button", { type: "button", class: "down", text: "To the end", hidden: true, onclick: () => this.toEnd() });
    this.problem = h("p", { class: "banner", role: "alert", hidden: true });
    this.fresh = h("button", { type: "button", text: "New chat", onclick: () => this.clear() });
    this.element = h("section", { class: "view chat", "aria-label": "Chat" },
      h("div", { class: "talk" },
        h("div", { class: "talk-head" }, this.fresh, this.problem), this.scroller,
        h("div", { class: "dock" }, this.down, this.composer.element)),
      this.live.element);
    this.sticks = true;
    this.top = 0;
    new ResizeObserver(() => this.sticks && this.toEnd()).observe(this.scroller);
    this.scroller.addEventListener("scroll", () => this.scrolled(), { passive: true });
    this.showAll();
  }

  /** Asks for the models; also after a key was entered. */
  async load() {
    try {
      await this.picker.load();
      this.problem.hidden = true;
    } catch (error) {
      const { title, text } = explain(error);
      this.problem.replaceChildren(h("strong", { text: title }), ` ${text} `,
        h("button", { type: "button", class: "quiet", text: "Try again", onclick: () => this.load() }));
      this.problem.hidden = false;
    }
  }

  /** A key was entered: what failed for the lack of one is asked again. */
  unlocked() {
    this.load();
    const turn = this.conversation.last;
    if (turn?.error?.status === 401) this.retry(turn);
  }

  ask(question, settings) {
    const turn = this.conversation.add(question, this.picker.value, settings);
    this.showTurn(turn);
    this.begin(turn);
    this.toEnd();
  }

  stop() {
    this.stream?.stop().catch((error) => this.answer.mark(this.stream.state, error));
  }

  retry(turn) {
    this.conversation.remove(turn);
    turn.element.remove();
    this.ask(turn.question, turn.settings);
  }

  /** Begins anew; an answer that nobody will read any more is stopped. */
  clear() {
    const { stream } = this;
    this.stream = null;
    stream?.stop().catch(() => {}); // the server has its own limits for what cannot be stopped
    this.conversation.clear();
    this.showAll();
    this.setBusy(false);
    this.composer.text.focus();
  }

  showAll() {
    this.list.replaceChildren();
    for (const turn of this.conversation.turns) {
      this.showTurn(turn);
      if (isOver(turn.state)) turn.answer.show(turn);
      else this.begin(turn);
    }
    if (!this.conversation.turns.length) this.list.append(this.welcome());
    this.toEnd();
  }

  welcome() {
    const examples = EXAMPLES.map((text) => h("button", { type: "button", class: "example", text, onclick: () => this.composer.send(text, this.composer.values()) }));
    return h("div", { class: "welcome" },
      h("h2", { text: "Every answer is a stream that lasts" }),
      h("p", { text: "Ask something, then cut the network, reload the page or open a second viewer: nothing is lost, and nothing comes twice." }),
      h("div", { class: "examples" }, ...examples));
  }

  showTurn(turn) {
    this.list.querySelector(".welcome")?.remove();
    const answer = new Answer();
    const meta = h("span", { class: "muted figures-line", text: turn.line ?? "" });
    const copyButton = h("button", { type: "button", class: "quiet", text: "Copy" });
    copyButton.addEventListener("click", () => copy(copyButton, textOf(turn.parts)));
    const inspect = h("a", { class: "button quiet", text: "Inspect", hidden: !turn.id, href: turn.id ? `#/streams/${turn.id}` : null });
    const again = h("button", { type: "button", class: "quiet retry", text: "Retry", onclick: () => this.retry(turn) });
    const foot = h("div", { class: "turn-foot", hidden: !isOver(turn.state) }, copyButton, again, inspect, meta);
    const element = h("article", { class: "turn", "aria-label": "Question and answer" },
      h("div", { class: "question" }, h("span", { class: "hidden", text: "You: " }), turn.question), answer.element, foot);
    // Not enumerable, so that they are not kept with the turn.
    for (const [name, value] of Object.entries({ answer, element, foot, meta, inspect })) Object.defineProperty(turn, name, { value, configurable: true });
    this.list.append(element);
  }

  /** Starts the stream of a turn, or joins it where an earlier visit of the page has started it. */
  begin(turn) {
    const { system, ...settings } = turn.settings ?? {};
    const stream = turn.id ? client.attach(turn.id) : client.start(
      { model: turn.model, messages: this.conversation.messagesFor(turn), settings },
      { idempotencyKey: turn.key, onDisconnect: "continue" });
    this.stream = stream;
    this.answer = turn.answer;
    stream.ready.then((id) => {
      turn.id = id;
      turn.inspect.href = `#/streams/${id}`;
      turn.inspect.hidden = false;
      this.conversation.save();
    }, () => {});
    turn.answer.addEventListener("draw", () => this.sticks && this.toEnd());
    turn.answer.addEventListener("end", () => this.ended(turn, stream));
    turn.answer.follow(stream);
    this.live.follow(stream);
    this.setBusy(true);
  }

  ended(turn, stream) {
    if (stream.state === "closed" || !this.conversation.turns.includes(turn)) return;
    const { timing, error } = stream;
    turn.state = stream.state;
    turn.parts = plainParts(stream.parts);
    turn.error = error && { code: error.code, status: error.status, message: error.message, retryAfter: error.retryAfter };
    const figures = [timing.ttft && `${duration(timing.ttft)} to the first token`, timing.tokensPerSecond && `${rate(timing.tokensPerSecond)} tokens/s`, timing.tokens && `${count(timing.tokens)} tokens`];
    turn.line = figures.filter(Boolean).join(" · ");
    turn.meta.textContent = turn.line;
    turn.foot.hidden = false;
    this.conversation.save();
    if (stream === this.stream) this.setBusy(false);
  }

  setBusy(busy) {
    this.list.setAttribute("aria-busy", String(busy));
    this.composer.setBusy(busy);
  }

  /** Only a reader who scrolls up leaves the end; it is not left when the text or the window grows. */
  scrolled() {
    const { scrollTop, scrollHeight, clientHeight } = this.scroller;
    if (scrollHeight - scrollTop - clientHeight < NEAR) this.sticks = true;
    else if (scrollTop < this.top) this.sticks = false;
    this.top = scrollTop;
    this.down.hidden = this.sticks;
  }

  toEnd() {
    this.sticks = true;
    this.scroller.scrollTop = this.scroller.scrollHeight;
  }
}

const isOver = (state) => ["finished", "failed", "cancelled"].includes(state);
