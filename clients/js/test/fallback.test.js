import assert from 'node:assert/strict';
import { test } from 'node:test';
import { reading, request, toTheEnd } from './support/reader.js';
import { FakeServer, ID, logOf, ndjson, refusal, stateOf } from './support/server.js';
import { settle } from './support/world.js';

const PIECES = ['Hello', ' world', '!'];

/** A browser's EventSource, as far as it goes. */
function sources(server, { opens = true } = {}) {
  const made = [];
  class FakeEventSource {
    closed = false;
    constructor(url) {
      this.url = new URL(url);
      made.push(this);
      setImmediate(() => this.#begin());
    }
    close() {
      this.closed = true;
    }
    #begin() {
      if (!opens) return this.onerror?.(new Event('error'));
      this.onopen?.(new Event('open'));
      const from = Number(this.url.searchParams.get('last_event_id').split('.')[1]);
      for (const record of server.log.slice(from)) this.send(record);
    }
    send(record) {
      if (!this.closed) this.onmessage({ data: JSON.stringify(record), lastEventId: `n1.${record.seq + 1}` });
    }
  }
  return { made, EventSource: FakeEventSource };
}

/** A fetch whose bodies cannot be read while they come. */
const whole =
  (server) =>
  async (...args) => {
    const response = await server.fetch(...args);
    if (response.body) Object.defineProperty(response, 'body', { value: null });
    return response;
  };

/** Headers come, the body only at its end: a proxy that collects. */
const buffered = {
  answer: ({ accept }) => new Response(new ReadableStream(), { headers: { 'content-type': accept } }),
};

test('without readable bodies, an EventSource is used', async () => {
  const server = new FakeServer(logOf(PIECES));
  const { made, EventSource } = sources(server);
  const { attach } = reading(server, { fetch: whole(server), EventSource });
  const stream = attach();
  await stream.done;
  assert.equal(stream.text, 'Hello world!');
  assert.equal(made.length, 1);
  assert.equal(made[0].url.search, '?format=native&last_event_id=n1.0');
  await settle();
  assert.ok(made[0].closed || stream.ended);
});

test('an EventSource gets a token where there is a key', async () => {
  const server = new FakeServer(logOf(PIECES));
  const { made, EventSource } = sources(server);
  const { attach } = reading(server, { apiKey: 'secret', transports: ['eventsource'], EventSource });
  await attach().done;
  assert.equal(made[0].url.searchParams.get('token'), 'read-token');
  const asked = server.requests[0];
  assert.deepEqual(
    [asked.method, asked.path, asked.body],
    ['POST', `/v1/streams/${ID}/token`, { mode: 'read', ttl_s: 300 }],
  );
});

test('an EventSource that does not open: the reason is asked for', async () => {
  const server = new FakeServer(logOf(PIECES));
  server.state = () => refusal(404, 'not_found');
  const { EventSource } = sources(server, { opens: false });
  const stream = reading(server, { transports: ['eventsource'], EventSource }).attach();
  await assert.rejects(stream.done, { code: 'not_found' });
});

test('an EventSource that breaks is replaced by one that goes on', async () => {
  const log = logOf(PIECES);
  const server = new FakeServer(log.slice(0, 3));
  const { made, EventSource } = sources(server);
  const { attach, world } = reading(server, { transports: ['eventsource'], EventSource });
  const stream = attach();
  await settle();
  assert.equal(stream.text, 'Hello');
  server.log = log;
  made[0].onerror(new Event('error'));
  await toTheEnd(stream, world);
  assert.equal(stream.text, 'Hello world!');
  assert.equal(made[0].closed, true);
  assert.equal(made[1].url.searchParams.get('last_event_id'), 'n1.3');
});

test('a body that is held back, while the stream moves on, leads to the next way; and is not tried again', async () => {
  const server = new FakeServer(logOf(PIECES));
  server.plan = [buffered];
  const { EventSource, made } = sources(server);
  const { client, attach, world } = reading(server, { EventSource });
  const stream = attach();
  await world.advance(4000);
  assert.equal(made.length, 0);
  await world.advance(4000);
  assert.equal(stream.text, 'Hello world!');
  assert.equal(made.length, 1);
  const requests = server.requests.length;
  await client.attach(ID).done;
  assert.equal(server.requests.length, requests);
  assert.equal(made.length, 2);
});

test('a model that thinks is not taken for something that holds the stream back', async () => {
  const server = new FakeServer([]);
  server.plan = [buffered];
  const { EventSource, made } = sources(server);
  const { attach, world } = reading(server, { EventSource });
  const stream = attach();
  await world.advance(30_000);
  assert.equal(made.length, 0);
  stream.close();
});

test('an answer to the first request that is held back: the id is asked for with the same key', async () => {
  const server = new FakeServer(logOf(PIECES));
  server.plan = [buffered];
  const { EventSource } = sources(server);
  const { client, world } = reading(server, { EventSource });
  const stream = client.start(request);
  await world.advance(10_000);
  assert.equal(stream.text, 'Hello world!');
  const posts = server.requests.filter((each) => each.method === 'POST');
  assert.deepEqual(
    posts.map((each) => each.accept),
    ['text/event-stream', 'application/json'],
  );
  assert.equal(posts[0].headers['idempotency-key'], posts[1].headers['idempotency-key']);
});

test('NDJSON that can only be read as a whole', async () => {
  const server = new FakeServer(logOf(PIECES));
  const { attach } = reading(server, { fetch: whole(server), EventSource: undefined, transports: ['fetch', 'ndjson'] });
  const stream = attach();
  await stream.done;
  assert.equal(stream.text, 'Hello world!');
});

test('where nothing else works the state is polled, and what is new is shown once', async () => {
  const log = logOf(PIECES);
  const server = new FakeServer(log.slice(0, 3));
  server.plan = [buffered];
  const { EventSource } = sources(server, { opens: false });
  const { attach, world } = reading(server, { EventSource });
  const stream = attach();
  const deltas = [];
  stream.on('text', (delta) => deltas.push(delta));
  for (let second = 0; stream.text !== 'Hello'; second++) {
    assert.ok(second < 200, `still ${stream.state}`);
    await world.advance(1000);
  }
  server.log = log;
  await toTheEnd(stream, world);
  assert.deepEqual(deltas, ['Hello', ' world!']);
  assert.equal(stream.state, 'finished');
  assert.equal(stream.usage.output, 3);
});

test('polling gives tool calls, reasoning and several choices as the stream would', async () => {
  const log = logOf([], { end: null });
  log.push({
    seq: 2,
    at_ms: 0,
    events: [
      { type: 'item.start', item: 1, kind: 'reasoning' },
      { type: 'text.delta', item: 1, text: 'Hm.' },
      { type: 'item.start', item: 2, kind: 'tool_call', name: 'weather', call_id: 'c1' },
      { type: 'args.delta', item: 2, json: '{"city": "Par' },
    ],
  });
  const server = new FakeServer(log);
  const { attach, world } = reading(server, { transports: ['poll'] });
  const stream = attach();
  await world.advance(100);
  assert.deepEqual(
    stream.parts.map((part) => part.kind),
    ['text', 'reasoning', 'tool_call'],
  );
  assert.deepEqual(stream.parts[2].object, { city: 'Par' });
  server.append({ type: 'args.delta', item: 2, json: 'is"}' }, { type: 'failed', code: 'boom', message: 'No.' });
  await world.advance(1000);
  assert.equal(stream.parts[2].text, '{"city": "Paris"}');
  assert.equal(stream.parts[2].callId, 'c1');
  assert.equal(stream.error.code, 'boom');
});

test('polling survives what a connection survives', async () => {
  const server = new FakeServer(logOf(PIECES));
  const state = server.state.bind(server);
  let fails = 2;
  server.state = () => (fails-- > 0 ? new Response('', { status: 502 }) : state());
  const { attach, world } = reading(server, { transports: ['poll'] });
  const stream = attach();
  await toTheEnd(stream, world);
  assert.equal(stream.text, 'Hello world!');
});

test('from a position on, the state is not polled: it could not say what is new', async () => {
  const server = new FakeServer(logOf(PIECES));
  const { attach } = reading(server, { transports: ['poll'] });
  const stream = attach('n1.3');
  await stream.done;
  assert.equal(stream.text, ' world!');
  assert.equal(server.requests[0].accept, 'application/x-ndjson');
});

test('where no way is left, that is the error', async () => {
  const server = new FakeServer(logOf(PIECES));
  const stream = reading(server, { transports: ['eventsource'], EventSource: undefined }).attach();
  await assert.rejects(stream.done, { code: 'unsupported' });
});

test('the fake server says of a log what it means', () => {
  assert.equal(stateOf(logOf(PIECES)).text, 'Hello world!');
  assert.equal(ndjson(logOf([])).at(-1), 10);
});
