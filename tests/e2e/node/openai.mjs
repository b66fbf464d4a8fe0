// The official OpenAI client for Node, as it is. Every case takes `baseURL` and `question`.

import OpenAI from "openai";

import { collected, headersOf, outcome, run } from "./cases.mjs";

/** Asked once: what a server says is not asked for again. */
function client({ baseURL, headers = {} }) {
  return new OpenAI({ baseURL, apiKey: "none", maxRetries: 0, defaultHeaders: headers });
}

await run({
  async chat(options) {
    const { question } = options;
    return outcome(() => client(options).chat.completions.create(question));
  },

  async chatHeaders(options) {
    const asked = client(options).chat.completions.create(options.question);
    const { data, response } = await asked.withResponse();
    return { answer: data, headers: headersOf(response) };
  },

  async chatStream(options) {
    const question = { ...options.question, stream: true };
    return collected(() => client(options).chat.completions.create(question));
  },

  // The helper, which puts the chunks together.
  async chatFinal(options) {
    return outcome(() => client(options).chat.completions.stream(options.question).finalChatCompletion());
  },

  async chatAgain(options) {
    return outcome(() => client(options).chat.completions.retrieve(options.id));
  },

  // Leaves after the first word.
  async chatAbort(options) {
    const question = { ...options.question, stream: true };
    const stream = await client(options).chat.completions.create(question);
    return collected(
      () => stream,
      (chunk) => chunk.choices[0]?.delta.content && stream.controller.abort(),
    );
  },

  async responses(options) {
    return outcome(() => client(options).responses.create(options.question));
  },

  async responsesStream(options) {
    return collected(() => client(options).responses.create({ ...options.question, stream: true }));
  },

  // The helper, which puts the events together.
  async responsesFinal(options) {
    return outcome(() => client(options).responses.stream(options.question).finalResponse());
  },

  async responsesAgain(options) {
    return outcome(() => client(options).responses.retrieve(options.id));
  },

  async responsesAgainFrom(options) {
    const query = { stream: true, starting_after: options.after };
    return collected(() => client(options).responses.retrieve(options.id, query));
  },

  async responsesAbort(options) {
    const stream = await client(options).responses.create({ ...options.question, stream: true });
    return collected(
      () => stream,
      (event) => event.type === "response.output_text.delta" && stream.controller.abort(),
    );
  },

  // Asks in the background and takes it back.
  async responsesCancel(options) {
    const asking = client(options);
    const { id, status } = await asking.responses.create({ ...options.question, background: true });
    return { id, status, answer: await asking.responses.cancel(id) };
  },

  async models(options) {
    const names = [];
    for await (const model of client(options).models.list()) names.push(model.id);
    return names;
  },
});
