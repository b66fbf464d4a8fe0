/** Durable streams of language models: started once, read exactly, resumed by themselves, stopped by id. */
export { createClient } from './client.js';
export { HeadraceError } from './errors.js';
export { createSSEDecoder } from './sse.js';
export { parsePartialJSON } from './partial-json.js';

/** @typedef {import('./answer.js').Part} Part */
/** @typedef {import('./timing.js').Timing} Timing */
/** @typedef {import('./stream.js').Stream} Stream */
/** @typedef {import('./client.js').Client} Client */
/** @typedef {import('./client.js').ClientOptions} ClientOptions */
/** @typedef {import('./client.js').StartRequest} StartRequest */
/** @typedef {import('./client.js').StartOptions} StartOptions */
/** @typedef {import('./client.js').AttachOptions} AttachOptions */
/** @typedef {import('./client.js').Message} Message */
/** @typedef {import('./environment.js').Environment} Environment */
/** @typedef {import('./events.js').StreamEvent} StreamEvent */
/** @typedef {import('./events.js').StreamInfo} StreamInfo */
/** @typedef {import('./events.js').Usage} Usage */
/** @typedef {import('./events.js').PartKind} PartKind */
/** @typedef {import('./sse.js').SSEDecoder} SSEDecoder */
/** @typedef {import('./sse.js').SSEEvent} SSEEvent */
/** @typedef {import('./stream.js').StreamState} StreamState */
/** @typedef {import('./stream.js').Listeners} Listeners */
