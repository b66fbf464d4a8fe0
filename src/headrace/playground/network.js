/** The page's one way out, which can be cut: what is open ends, and nothing gets through until it is mended. */

export class Network extends EventTarget {
  constructor() {
    super();
    this.line = new AbortController();
    this.mendsAt = 0;
  }

  /** Milliseconds until it is mended; 0 where it is whole. */
  get left() {
    return Math.max(0, this.mendsAt - performance.now());
  }

  get isCut() {
    return this.mendsAt > 0;
  }

  /** `fetch`, as far as the line allows. */
  fetch = async (input, init = {}) => {
    if (this.isCut) throw new TypeError("The network is cut.");
    const signals = [this.line.signal, init.signal].filter(Boolean);
    return fetch(input, { ...init, signal: AbortSignal.any(signals) });
  };

  /** Cuts every connection, and keeps others from being made for so many milliseconds. */
  cut(duration) {
    if (this.isCut) return;
    this.mendsAt = performance.now() + duration;
    this.line.abort(new TypeError("The network was cut."));
    this.dispatchEvent(new Event("change"));
    setTimeout(() => this.mend(), duration);
  }

  mend() {
    this.mendsAt = 0;
    this.line = new AbortController();
    this.dispatchEvent(new Event("change"));
    this.dispatchEvent(new Event("mended"));
  }

  /** Calls back whenever trying again may help: the line is mended, the browser is online, the page is looked at. */
  onWake = (wake) => {
    const seen = () => document.visibilityState === "visible" && wake();
    this.addEventListener("mended", wake);
    window.addEventListener("online", wake);
    document.addEventListener("visibilitychange", seen);
    return () => {
      this.removeEventListener("mended", wake);
      window.removeEventListener("online", wake);
      document.removeEventListener("visibilitychange", seen);
    };
  };
}
