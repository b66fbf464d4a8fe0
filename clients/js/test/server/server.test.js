/** The client and a real server, at HEADRACE_URL, with a mock behind it whose scenario is in tests/clients/test_js.py. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createClient } from '../../src/index.js';
import { seeded } from '../support/world.js';
import { cutting } from './cutter.js';

const { HEADRACE_URL: baseURL, HEADRACE_KEYED_URL: keyed, HEADRACE_KEY: apiKey } = process.env;
const client = createClient({ baseURL });
const ask = (content, more = {}) => ({ model: 'mock', messages: [{ role: 'user', content }], ...more });
const quick = { random: () => 0.02 };

async function eventsOf(stream) {
  const events = [];
  for await (const event of stream) events.push(event);
  return events;
}

test('an answer arrives whole, with its id, usage and times', async () => {
  const stream = client.start(ask('tell'));
  const text = await stream.finalText();
  const info = await client.get(stream.id);
  assert.equal(text, info.text);
  assert.equal(stream.finishReason, 'stop');
  assert.equal(stream.usage.output, info.usage.output);
  assert.equal(stream.model, 'mock');
  assert.equal(stream.position, `n1.${info.position}`);
  assert.ok(stream.timing.ttft > 0 && stream.timing.tokens >= 40);
  assert.match(stream.id, /^[0-9a-f]{32}$/);
});

test('every way to read gives the same events', async () => {
  const stream = client.start(ask('slow'));
  const id = await stream.ready;
  const ways = ['fetch', 'ndjson', 'eventsource'].map((way) => createClient({ baseURL, transports: [way] }).attach(id));
  const [expected, ...others] = await Promise.all([stream, ...ways].map(eventsOf));
  for (const events of others) assert.deepEqual(events, expected);
});

test('polling gives the same text and the same end', async () => {
  const stream = client.start(ask('slow'));
  const polled = createClient({ baseURL, transports: ['poll'], pollInterval: 20 }).attach(await stream.ready);
  assert.equal(await polled.finalText(), await stream.finalText());
  assert.equal(polled.usage.output, stream.usage.output);
});

for (const way of ['fetch', 'ndjson', 'eventsource']) {
  test(`${way} over a network that breaks all the time: nothing lost, nothing twice`, async () => {
    const random = seeded(way.length);
    const network = await cutting(baseURL, () => 400 + random() * 4000);
    try {
      const broken = createClient({
        baseURL: network.url,
        transports: [way, 'ndjson'],
        environment: quick,
        startRetries: 50,
      });
      const stream = way === 'fetch' ? broken.start(ask('long')) : broken.attach(await client.start(ask('long')).ready);
      const events = await eventsOf(stream);
      assert.ok(network.cuts() > 5, `${network.cuts()} cuts`);
      assert.deepEqual(events, await eventsOf(client.attach(stream.id)));
    } finally {
      network.close();
    }
  });
}

test('a position goes on in another process of reading', async () => {
  const first = client.start(ask('slow'));
  await new Promise((enough) => first.on('text', () => first.timing.tokens >= 5 && enough()));
  const { id, position, text } = first;
  first.close();
  const second = client.attach(id, { position });
  assert.equal(text + (await second.finalText()), (await client.get(id)).text);
});

test('the same key and request are one stream', async () => {
  const key = `same-${Date.now()}`;
  const [one, other] = [1, 2].map(() => client.start(ask('tell'), { idempotencyKey: key }));
  assert.equal(await one.ready, await other.ready);
  assert.equal(await one.finalText(), await other.finalText());
});

test('the same key and another request are refused', async () => {
  const key = `other-${Date.now()}`;
  await client.start(ask('tell'), { idempotencyKey: key }).done;
  await assert.rejects(client.start(ask('more'), { idempotencyKey: key }).done, {
    code: 'idempotency_key_reused',
    status: 422,
  });
});

test('stop ends the model, and the text stays', async () => {
  const stream = client.start(ask('endless'));
  await new Promise((enough) => stream.on('text', () => stream.timing.tokens >= 3 && enough()));
  await stream.stop();
  assert.equal(stream.state, 'cancelled');
  const info = await client.get(stream.id);
  assert.deepEqual([info.state, info.text], ['cancelled', stream.text]);
});

test('close leaves it running', async () => {
  const stream = client.start(ask('slow'));
  const id = await stream.ready;
  stream.close();
  assert.match(await client.attach(id).finalText(), /./);
});

test('a model server that breaks off is an error with the text so far', async () => {
  const stream = client.start(ask('broken'));
  await assert.rejects(stream.done, (error) => {
    assert.equal(error.code, 'upstream_incomplete');
    assert.equal(error.retryable, true);
    assert.equal(error.partial, stream.text);
    return stream.text.length > 0;
  });
});

test('tool calls arrive by item, with their arguments as values on the way', async () => {
  const tools = [{ name: 'weather', parameters: { type: 'object', properties: { city: { type: 'string' } } } }];
  const stream = client.start(ask('tools', { tools }));
  await stream.done;
  const calls = stream.parts.filter((part) => part.kind === 'tool_call');
  assert.ok(calls.length > 0);
  for (const call of calls) assert.deepEqual([call.name, call.object], ['weather', JSON.parse(call.text)]);
});

test('a stream that was deleted is gone, in words', async () => {
  const stream = client.start(ask('tell'));
  await stream.done;
  await client.delete(stream.id);
  await assert.rejects(client.attach(stream.id).done, { code: 'not_found', status: 404, message: /no longer has/ });
  await assert.rejects(client.get(stream.id), { code: 'not_found' });
});

test('what the server refuses, it explains', async () => {
  await assert.rejects(client.start({ model: 'mock', messages: [] }).done, { status: 400, param: 'messages' });
  await assert.rejects(client.attach('nonsense').done, { code: 'not_found' });
});

test('streams are listed', async () => {
  const stream = client.start(ask('tell'), {});
  await stream.done;
  const { data } = await client.list({ limit: 1, state: 'finished' });
  assert.equal(data.length, 1);
});

test('a key lets in, no key and another do not', async () => {
  assert.match(await createClient({ baseURL: keyed, apiKey }).start(ask('tell')).finalText(), /./);
  for (const wrong of [undefined, 'wrong']) {
    const stream = createClient({ baseURL: keyed, apiKey: wrong }).start(ask('tell'));
    await assert.rejects(stream.done, { code: 'invalid_api_key', status: 401, retryable: false });
  }
});
