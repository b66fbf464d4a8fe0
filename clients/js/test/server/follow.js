/** Reads an endless answer at HEADRACE_URL; says when it has begun, and how it ended. */
import { createClient } from '../../src/index.js';

const client = createClient({ baseURL: process.env.HEADRACE_URL });
const stream = client.start({ model: 'mock', messages: [{ role: 'user', content: 'endless' }] });
let reading = false;
stream.on('text', () => {
  // At least: several tokens may come in one read.
  if (reading || stream.timing.tokens < 3) return;
  reading = true;
  console.log('reading');
});
await stream.done.catch(() => {});
console.log(JSON.stringify({ state: stream.state, code: stream.error?.code, text: stream.text.length }));
