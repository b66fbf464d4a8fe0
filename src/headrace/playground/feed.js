/** A stream's frames as they are on the wire, in any format, from any position, read to their end. */

import { createSSEDecoder } from "./client/index.js";
import { network, send } from "./session.js";

const PAUSE_MS = 1000;
const SSE = "text/event-stream";

/**
 * Reads a stream; `take` gets lists of frames `{id, event, data}`, once for each read. Resolves at the end.
 *
 * A connection that is lost is made again from the last frame that arrived. Throws what the server refuses with.
 */
export async function follow(id, format, { position, signal, take }) {
  let last = position ?? "";
  for (;;) {
    const query = new URLSearchParams(last ? { format, last_event_id: last } : { format });
    try {
      const response = await send(`/v1/streams/${id}/events?${query}`, { accept: SSE, signal });
      if (response.status === 204) return;
      await read(response, (frames) => {
        take(frames);
        last = frames.at(-1).id || last;
      });
      return; // only an ended stream ends a body well
    } catch (error) {
      if (signal.aborted) return;
      if (error.status) throw error;
      await woken(signal);
    }
  }
}

async function read(response, take) {
  const type = response.headers.get("content-type") ?? "";
  if (!type.startsWith(SSE)) throw new TypeError(`not ${SSE} but ${type}: something else has answered`);
  let frames = [];
  const decoder = createSSEDecoder(({ id, event, data }) => frames.push({ id, event, data }));
  const reader = response.body.getReader();
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    decoder.feed(value);
    if (frames.length) take(frames);
    frames = [];
  }
}

/** Waits until trying again may help. */
function woken(signal) {
  return new Promise((resolve) => {
    const end = () => {
      unlisten();
      clearTimeout(timer);
      resolve();
    };
    const unlisten = network.onWake(end);
    const timer = setTimeout(end, PAUSE_MS);
    signal.addEventListener("abort", end, { once: true });
  });
}
