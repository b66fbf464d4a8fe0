// The official Anthropic client for Node, as it is. Every case takes `baseURL` and `question`.

import Anthropic from "@anthropic-ai/sdk";

import { collected, described, headersOf, outcome, run } from "./cases.mjs";

/** Asked once: what a server says is not asked for again. */
function client({ baseURL, headers = {} }) {
  return new Anthropic({ baseURL, apiKey: "none", authToken: null, maxRetries: 0, defaultHeaders: headers });
}

await run({
  async messages(options) {
    return outcome(() => client(options).messages.create(options.question));
  },

  async messagesHeaders(options) {
    const { data, response } = await client(options).messages.create(options.question).withResponse();
    return { answer: data, headers: headersOf(response) };
  },

  async messagesStream(options) {
    return collected(() => client(options).messages.create({ ...options.question, stream: true }));
  },

  // The helper, which puts the events together; what it has when it fails is `partial`.
  async messagesFinal(options) {
    const stream = client(options).messages.stream(options.question);
    try {
      return { answer: await stream.finalMessage(), error: null };
    } catch (error) {
      return { answer: null, error: described(error), partial: stream.currentMessage ?? null };
    }
  },

  // Leaves after the first word.
  async messagesAbort(options) {
    const stream = await client(options).messages.create({ ...options.question, stream: true });
    return collected(
      () => stream,
      (event) => event.type === "content_block_delta" && stream.controller.abort(),
    );
  },

  async countTokens(options) {
    const { max_tokens: _, ...question } = options.question;
    return outcome(() => client(options).messages.countTokens(question));
  },

  async models(options) {
    const names = [];
    for await (const model of client(options).models.list()) names.push(model.id);
    return names;
  },
});
