// Runs one named case of a client and prints what it saw as JSON: `node openai.mjs CASE '{"baseURL": ...}'`.

/** Run the case that the command line names; an error that it does not expect ends the process with its stack. */
export async function run(cases) {
  const [name, options] = process.argv.slice(2);
  if (!Object.hasOwn(cases, name)) throw new Error(`no case ${name}, there are ${Object.keys(cases).join(", ")}`);
  const seen = await cases[name](JSON.parse(options));
  process.stdout.write(`${JSON.stringify(seen ?? null)}\n`);
}

/** What there is to say of an error of an official client. */
export function described(error) {
  if (!(error instanceof Error)) throw error;
  const { name, message, status = null, code = null, param = null } = error;
  const kind = error.constructor.name;
  return { kind, name, message, status, code, param, body: error.error ?? null };
}

/** The answer, or the error that came in its place. */
export async function outcome(asking) {
  try {
    return { answer: await asking(), error: null };
  } catch (error) {
    return { answer: null, error: described(error) };
  }
}

/** All that a stream gives, and the error that it ended with, if it did. */
export async function collected(opening, look = () => {}) {
  const chunks = [];
  try {
    for await (const chunk of await opening()) {
      chunks.push(chunk);
      look(chunk);
    }
  } catch (error) {
    return { chunks, error: described(error) };
  }
  return { chunks, error: null };
}

/** The headers of an answer. */
export function headersOf(response) {
  return Object.fromEntries(response.headers);
}
