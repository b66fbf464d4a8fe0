/** Work that changes the page, done once for each frame of the screen, however often it is asked for. */

const waiting = new Set();
let asked = 0;

/** Calls `work` before the next frame; the same function only once. */
export function beforeFrame(work) {
  waiting.add(work);
  asked ||= requestAnimationFrame(run);
}

function run() {
  asked = 0;
  const due = [...waiting];
  waiting.clear();
  for (const work of due) work();
}
