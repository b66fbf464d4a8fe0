// The official OpenAI client for Node, as it is. Every case takes `baseURL` and `question`.

import OpenAI from "openai";

import { collected, described, headersOf, run } from "./cases.mjs";

/** Asked once: what a server says is not asked for again. */
function client({ baseURL, headers = {} }) {
  return new OpenAI({ baseURL, apiKey: "none", maxRetries: 0, defaultHeaders: headers });
}

async function outcome(asking) {
  try {
    return { answer: await asking(), error: null };
  } catch (error) {
    return { answer: null, error: described(error) };
  }
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

  async models(options) {
    const names = [];
    for await (const model of client(options).models.list()) names.push(model.id);
    return names;
  },
});
