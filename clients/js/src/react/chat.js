import { memoryOf } from './memory.js';
import { Store } from './store.js';
import { snapshotOf } from './stream-store.js';

/** @import {Client, HeadraceError, Message, Part, StartRequest, Stream, StreamState, Usage} from '../index.js' */
/** @import {MemoryKind} from './memory.js' */

/**
 * A message as it is shown: what was sent, or an answer, as far as it has come.
 *
 * @typedef {Message & {id: string, parts?: readonly Part[], state?: StreamState}} ChatMessage
 *
 * @typedef {object} ChatOptions
 * @property {Client} [client]
 * @property {string} model
 * @property {StartRequest['settings']} [settings]
 * @property {StartRequest['tools']} [tools]
 * @property {StartRequest['metadata']} [metadata]
 * @property {Message[]} [messages] what the chat begins with
 * @property {string} [name] where a page has several chats
 * @property {MemoryKind} [remember] what survives a reload: `session` (the default), `hash` or `none`
 *
 * @typedef {object} ChatSnapshot
 * @property {readonly ChatMessage[]} messages the answer under way included
 * @property {StreamState | 'idle'} status of the last answer
 * @property {boolean} busy whether an answer is under way
 * @property {string} text of the last answer
 * @property {readonly Part[]} parts of the last answer
 * @property {Usage | undefined} usage
 * @property {HeadraceError | undefined} error
 * @property {Stream | undefined} stream the last answer
 */

/**
 * A conversation: its messages, and the answer under way. The page may be reloaded and the component may go and come
 * back; the answer goes on.
 *
 * @extends {Store<ChatSnapshot>}
 */
export class Chat extends Store {
  /** Set by the hook at every render: what the next request is made of. @type {ChatOptions} */
  options;
  #client;
  #memory;
  /** @type {ChatMessage[]} */
  #messages;
  /** @type {Stream | undefined} */
  #stream;
  /** The answer that was under way when the component went, or the page. @type {string | undefined} */
  #streamId;
  #loaded = false;
  #serial = 0;

  /**
   * @param {ChatOptions} options
   * @param {() => Client} client asked for when it is needed
   */
  constructor(options, client) {
    super(() => this.#show());
    this.options = options;
    this.#client = client;
    this.#memory = memoryOf(options.remember ?? 'session', options.name ?? 'chat');
    this.#messages = (options.messages ?? []).map((message) => this.#named(message));
  }

  /**
   * Say something and have it answered. What is under way is stopped, and stays as far as it had come.
   *
   * @param {string | Message | Message[]} what text of the user, or whole messages, such as what tools gave back
   */
  send = (what) => {
    const said = typeof what === 'string' ? [{ role: /** @type {const} */ ('user'), content: what }] : [what].flat();
    const answer = this.#letGo();
    if (answer) this.#messages.push(answer);
    this.#messages.push(...said.map((message) => this.#named(message)));
    this.#ask();
  };

  /** Ask for the last answer again, and forget the one that there is. */
  retry = () => {
    const answer = this.#letGo();
    if (!answer && this.#messages.at(-1)?.role === 'assistant') this.#messages.pop();
    this.#ask();
  };

  /** Stop the answer under way; what it has said stays. */
  stop = async () => {
    await this.#stream?.stop().catch(() => {}); // the stream has the error
  };

  /** Forget everything. @param {Message[]} [messages] what to begin with instead */
  clear = (messages = []) => {
    this.#letGo();
    this.#messages = messages.map((message) => this.#named(message));
    this.#save();
    this.update();
  };

  /** @override */
  enter() {
    if (!this.#loaded) this.#load();
    if (this.#streamId && !this.#stream) this.#follow(this.#client().attach(this.#streamId));
    this.update();
  }

  /** @override */
  leave() {
    const stream = this.#stream;
    if (!stream?.id || stream.ended) return; // what has no name yet could not be found again
    this.#streamId = stream.id;
    this.#stream = undefined;
    stream.close();
  }

  #load() {
    this.#loaded = true;
    const kept = this.#memory.load();
    if (!kept || this.#stream) return;
    if (kept.messages) this.#messages = kept.messages.map((message) => this.#named(message));
    this.#streamId = kept.ended ? undefined : kept.streamId;
  }

  #ask() {
    const { model, settings, tools, metadata } = this.options;
    const said = this.#messages.filter(
      ({ role, content, tool_calls }) => role !== 'assistant' || content || tool_calls,
    );
    const messages = said.map(({ id, parts, state, ...message }) => message);
    this.#streamId = undefined;
    this.#follow(this.#client().start({ model, messages, settings, tools, metadata }));
  }

  /** @param {Stream} stream */
  #follow(stream) {
    this.#stream = stream;
    stream.on('change', this.touch);
    const save = () => stream === this.#stream && this.#save();
    stream.on('end', save);
    stream.ready.then(save, () => {});
    this.#save();
    this.update();
  }

  /** The last answer, which is stopped for as long as that takes, and no longer the chat's. */
  #letGo() {
    const answer = this.#answer();
    this.stop();
    this.#stream = undefined;
    return answer && { ...answer, state: stateAfterStop(answer.state) };
  }

  #save() {
    const stream = this.#stream;
    if (stream?.state === 'closed') return; // it was left to be found again
    const ended = !stream || stream.ended;
    const answer = ended && this.#answer();
    const messages = answer ? [...this.#messages, answer] : this.#messages;
    this.#memory.save({ messages, streamId: stream?.id, ended });
  }

  /** @returns {ChatMessage | undefined} */
  #answer() {
    const stream = this.#stream;
    if (!stream?.parts.length) return undefined;
    const { text: content, parts } = snapshotOf(stream);
    const { state } = stream;
    // A call that was cut off is shown, but not sent back: its arguments are no JSON.
    const calls = parts.filter((part) => part.kind === 'tool_call' && !part.choice && state === 'finished');
    const tool_calls = calls.map((part) => ({ id: part.callId ?? '', name: part.name ?? '', arguments: part.text }));
    const id = `answer-${this.#messages.length}`;
    return { id, role: 'assistant', content, parts, state, ...(calls.length && { tool_calls }) };
  }

  /** @returns {ChatSnapshot} */
  #show() {
    const { state: status, text, parts, usage, error, stream } = snapshotOf(this.#stream);
    const answer = this.#answer();
    const messages = answer ? [...this.#messages, answer] : [...this.#messages];
    const busy = !!stream && !stream.ended;
    return { messages, status, busy, text, parts, usage, error, stream };
  }

  /** @param {Message} message @returns {ChatMessage} */
  #named(message) {
    return { ...message, id: `message-${this.#serial++}` };
  }
}

/** @param {StreamState | undefined} state @returns {StreamState} */
const stateAfterStop = (state) => (state === 'finished' || state === 'failed' ? state : 'cancelled');
