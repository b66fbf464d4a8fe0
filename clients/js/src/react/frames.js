const HIDDEN_PAGE_MS = 250; // a page that is not painted has no frames

/**
 * A function that runs the action in the page's next frame, once, however often it was called before. Where there are no
 * frames, a timer does it.
 *
 * @param {() => void} action
 */
export function everyFrame(action) {
  let waiting = false;
  return () => {
    if (waiting) return;
    waiting = true;
    const paint = /** @type {typeof requestAnimationFrame | undefined} */ (globalThis.requestAnimationFrame);
    let frame = 0;
    const run = () => {
      clearTimeout(timer);
      if (frame) cancelAnimationFrame(frame);
      waiting = false;
      action();
    };
    const timer = setTimeout(run, paint ? HIDDEN_PAGE_MS : 16);
    frame = paint?.(run) ?? 0;
  };
}
