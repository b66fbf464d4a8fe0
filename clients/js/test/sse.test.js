import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { test } from 'node:test';
import { createSSEDecoder } from '../src/index.js';

const folder = new URL('../../../conformance/sse/', import.meta.url);
const cases = readdirSync(folder).flatMap((name) => JSON.parse(readFileSync(new URL(name, folder), 'utf8')));

/** Everything that a reader of these chunks can observe, in the words of the conformance cases. */
function outcome(chunks, { max_line_bytes: maxLineBytes, max_event_bytes: maxEventBytes } = {}) {
  const events = [];
  const decoder = createSSEDecoder((event) => events.push(event), { maxLineBytes, maxEventBytes });
  try {
    for (const chunk of chunks) decoder.feed(chunk);
    decoder.finish();
  } catch (error) {
    return { events, error: error.code };
  }
  return { events, retry_ms: decoder.retryMs, last_event_id: decoder.lastEventId, pending: decoder.pending };
}

function expect(one, chunks) {
  const seen = outcome(chunks, one.options);
  for (const key of ['events', 'retry_ms', 'last_event_id', 'pending']) {
    if (key in one) assert.deepEqual(seen[key], one[key], `${one.name}: ${key}`);
  }
  assert.equal(seen.error, one.error, one.name);
}

test('there are conformance cases', () => assert.ok(cases.length > 100, `${cases.length}`));

for (const one of cases) {
  test(`${one.name}: ${one.why}`, () => {
    const bytes = Uint8Array.from(Buffer.from(one.input_base64 ?? one.input, one.input_base64 ? 'base64' : 'utf8'));
    expect(one, [bytes]);
    for (let cut = 0; cut <= bytes.length; cut++) expect(one, [bytes.slice(0, cut), bytes.slice(cut)]);
    expect(
      one,
      Array.from(bytes, (_, at) => bytes.slice(at, at + 1)),
    );
  });
}

test('an event is given at once, not with the next read', () => {
  const events = [];
  const decoder = createSSEDecoder((event) => events.push(event.data));
  decoder.feed(Buffer.from('data: a\n\ndata: b\n\nda'));
  assert.deepEqual(events, ['a', 'b']);
});

test('a read may be reused by whoever gave it', () => {
  const events = [];
  const decoder = createSSEDecoder((event) => events.push(event.data));
  const buffer = Buffer.from('data: ab');
  decoder.feed(buffer);
  buffer.fill(120);
  decoder.feed(Buffer.from('c\n\n'));
  assert.deepEqual(events, ['abc']);
});

test('a line of a million reads is joined once', () => {
  const events = [];
  const decoder = createSSEDecoder((event) => events.push(event.data));
  decoder.feed(Buffer.from('data: '));
  const one = Buffer.from('x');
  for (let count = 0; count < 1_000_000; count++) decoder.feed(one);
  decoder.feed(Buffer.from('\n\n'));
  assert.equal(events[0].length, 1_000_000);
});
