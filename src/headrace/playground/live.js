/** What can be done with a stream while it runs, beside its figures: cut the network, look from elsewhere, inspect. */

import { Answer } from "./answer.js";
import { copy, h } from "./dom.js";
import { explain } from "./problems.js";
import { Meter } from "./meter.js";
import { network, request, viewerOf } from "./session.js";
import { count } from "./format.js";

/** Seconds for which the network stays cut. */
const CUT_S = 5;

export class Live {
  constructor() {
    this.meter = new Meter();
    this.cutButton = h("button", { type: "button", text: "Cut my network", onclick: () => network.cut(CUT_S * 1000) });
    this.second = h("button", { type: "button", text: "Second viewer", onclick: () => this.openViewer() });
    this.tab = h("button", { type: "button", text: "Open in a tab", onclick: () => this.openTab() });
    this.inspect = h("a", { class: "button", text: "Inspect" });
    this.id = h("button", { type: "button", class: "id quiet", title: "Copy the stream's id", onclick: () => copy(this.id, this.stream.id) });
    this.check = h("p", { class: "check", role: "status" });
    this.viewer = h("div", { class: "viewer" });
    this.actions = h("div", { class: "actions" }, this.cutButton, this.second, this.tab, this.inspect);
    this.element = h("aside", { class: "live", "aria-label": "This stream" },
      h("div", { class: "live-head" }, h("h2", { text: "Live" }), this.id), this.meter.element, this.actions, this.check, this.viewer);
    network.addEventListener("change", () => this.countDown());
    this.enable(false);
    this.element.dataset.idle = "";
  }

  /** Shows another stream from now on. */
  follow(stream) {
    this.stream = stream;
    delete this.element.dataset.idle;
    this.wasCut = false;
    this.check.textContent = "";
    this.meter.follow(stream);
    this.closeViewer();
    this.enable(stream.id !== undefined);
    stream.ready.then(() => stream === this.stream && this.enable(true), () => {});
    stream.on("end", () => stream === this.stream && this.ended(stream));
  }

  enable(on) {
    this.second.disabled = this.tab.disabled = !on;
    this.id.hidden = this.inspect.hidden = !on;
    if (!on) return;
    this.id.textContent = this.stream.id.slice(0, 8);
    delete this.id.dataset.label;
    this.inspect.href = `#/streams/${this.stream.id}`;
  }

  countDown() {
    const left = Math.ceil(network.left / 1000);
    this.cutButton.disabled = network.isCut;
    this.cutButton.textContent = network.isCut ? `Cut, back in ${left} s` : "Cut my network";
    if (!network.isCut) return;
    if (this.stream && !this.stream.ended) this.wasCut = true;
    setTimeout(() => this.countDown(), 250);
  }

  /** What it cost; after a cut also whether what was read in pieces is what the server has as a whole. */
  async ended(stream) {
    if (stream.state === "closed" || !stream.id) return;
    try {
      const whole = await request(`/v1/streams/${stream.id}`);
      if (stream !== this.stream) return;
      this.meter.price(whole.cost_usd);
      if (!this.wasCut) return;
      const same = whole.text === stream.text;
      this.check.dataset.ok = String(same);
      this.check.textContent = same
        ? `Checked against the server: all ${count(stream.text.length)} characters, nothing lost, nothing twice.`
        : "What arrived differs from what the server has.";
    } catch (error) {
      if (this.wasCut) this.check.textContent = `Could not be checked: ${explain(error).title}.`;
    }
  }

  async openViewer() {
    if (this.viewer.childElementCount) return this.closeViewer();
    const { id } = this.stream;
    const answer = new Answer({ quiet: true });
    this.second.textContent = "Close viewer";
    this.viewer.replaceChildren(h("h2", { text: "Second viewer" }), answer.element);
    try {
      this.watched = (await viewerOf(id)).client.attach(id);
      answer.follow(this.watched);
    } catch (error) {
      answer.show({ parts: [], state: "failed", error });
    }
  }

  closeViewer() {
    this.watched?.close();
    this.watched = null;
    this.viewer.replaceChildren();
    this.second.textContent = "Second viewer";
  }

  async openTab() {
    const { id } = this.stream;
    const tab = window.open("about:blank", "_blank"); // at once: later it would be taken for a pop-up
    try {
      const { token } = await viewerOf(id);
      // In the fragment, which no server is sent.
      const address = new URL(`#/watch/${id}${token ? `/${token}` : ""}`, location.href).href;
      if (tab === null) return;
      tab.opener = null;
      tab.location = address;
    } catch (error) {
      tab?.close();
      this.check.textContent = explain(error).title;
    }
  }
}
