import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createClient } from '../src/index.js';
import { reading, request, toTheEnd } from './support/reader.js';
import { FakeServer, ID, logOf, refusal } from './support/server.js';
import { settle } from './support/world.js';

const PIECES = ['Hello', ' world'];

test('a stream is started and read with one request', async () => {
  const server = new FakeServer(logOf(PIECES));
  const { client } = reading(server, { apiKey: 'secret', headers: { 'x-tenant': 'a' } });
  const stream = client.start(request, { onDisconnect: 'grace=30', idempotencyKey: 'mine' });
  assert.equal(stream.state, 'connecting');
  assert.equal(stream.id, undefined);
  assert.equal(await stream.ready, ID);
  assert.equal(await stream.finalText(), 'Hello world');
  assert.equal(stream.finishReason, 'stop');
  assert.equal(stream.usage.output, 2);
  assert.equal(stream.model, 'm');
  const [post, ...more] = server.requests;
  assert.deepEqual(more, []);
  assert.equal(post.path, '/v1/streams');
  assert.deepEqual(post.body, request);
  assert.equal(post.headers.authorization, 'Bearer secret');
  assert.equal(post.headers['x-tenant'], 'a');
  assert.equal(post.headers['idempotency-key'], 'mine');
  assert.equal(post.headers['headrace-on-disconnect'], 'grace=30');
  assert.equal(post.headers['content-type'], 'application/json');
});

test('headers may be made anew for every request', async () => {
  const server = new FakeServer(logOf(PIECES));
  let count = 0;
  const { client, world } = reading(server, { headers: async () => ({ authorization: `Bearer ${++count}` }) });
  server.plan = [{ cut: 300 }, {}];
  await toTheEnd(client.start(request), world);
  assert.deepEqual(
    server.requests.map((each) => each.headers.authorization),
    ['Bearer 1', 'Bearer 2'],
  );
});

test('a request whose answer was lost is sent again with the same key, and read on after the first record', async () => {
  const server = new FakeServer(logOf(PIECES));
  server.plan = [{ down: true }, { cut: 20 }, { cut: 350 }, {}];
  const { client, world } = reading(server);
  const stream = client.start(request);
  await toTheEnd(stream, world);
  assert.equal(stream.text, 'Hello world');
  assert.deepEqual(
    server.requests.map((each) => each.method),
    ['POST', 'POST', 'POST', 'GET'],
  );
  const keys = new Set(server.requests.slice(0, 3).map((each) => each.headers['idempotency-key']));
  assert.equal(keys.size, 1);
  assert.match([...keys][0], /^[A-Za-z0-9._:-]{1,128}$/);
});

test('two requests have two keys', async () => {
  const server = new FakeServer(logOf(PIECES));
  const { client } = reading(server);
  await Promise.all([client.start(request).done, client.start(request).done]);
  assert.notEqual(server.requests[0].headers['idempotency-key'], server.requests[1].headers['idempotency-key']);
});

test('a request that the server refuses is refused at once', async () => {
  const server = new FakeServer([]);
  server.plan = [{ answer: () => refusal(400, 'unknown_model', { message: 'There is no model m.' }) }];
  const stream = reading(server).client.start(request);
  await assert.rejects(stream.done, { code: 'unknown_model', message: 'There is no model m.', retryable: false });
  await assert.rejects(stream.ready, { code: 'unknown_model' });
  assert.equal(server.requests.length, 1);
});

test('a server that cannot be reached is given up on before it has accepted anything', async () => {
  const server = new FakeServer([]);
  server.plan = [{ down: true }];
  const { client, world } = reading(server);
  const stream = client.start(request);
  await world.advance(60_000);
  assert.equal(stream.state, 'failed');
  assert.equal(stream.error.code, 'connection_lost');
  assert.equal(stream.error.retryable, true);
  assert.equal(server.requests.length, 6);
});

test('while the browser is offline it is not given up on', async () => {
  const server = new FakeServer(logOf(PIECES));
  server.plan = [{ down: true }];
  const { client, world } = reading(server);
  world.isOnline = false;
  const stream = client.start(request);
  await world.advance(3_600_000);
  assert.equal(stream.state, 'offline');
  world.isOnline = true;
  server.plan = [{}];
  await world.wake();
  assert.equal(stream.text, 'Hello world');
});

test('stop ends the stream by its id and keeps the text', async () => {
  const server = new FakeServer(logOf(PIECES, { end: null }));
  server.plan = [{ hang: true }];
  const { client } = reading(server);
  const stream = client.start(request);
  await settle();
  await stream.stop();
  assert.equal(stream.state, 'cancelled');
  assert.equal(stream.text, 'Hello world');
  assert.equal(await stream.done, 'cancelled');
  await assert.rejects(stream.finalText(), { code: 'cancelled', partial: 'Hello world' });
  await stream.stop();
  assert.equal(server.cancelled, 1);
});

test('stop before the server has answered stops what it then starts', async () => {
  const server = new FakeServer(logOf([], { end: null }));
  server.plan = [{ hang: true }];
  const stream = reading(server).client.start(request);
  await stream.stop();
  assert.equal(stream.state, 'cancelled');
  assert.equal(server.cancelled, 1);
});

test('stop while nothing can be reached ends at once, and takes back what may have begun', async () => {
  const server = new FakeServer([]);
  server.plan = [{ down: true }];
  const { client, world } = reading(server);
  const stream = client.start(request, { idempotencyKey: 'mine' });
  await world.advance(100);
  await stream.stop();
  assert.equal(stream.state, 'cancelled');
  const last = server.requests.at(-1);
  assert.equal(last.path, '/v1/streams/cancel');
  assert.deepEqual(last.body, { idempotency_key: 'mine', route: '/v1/streams' });
  await assert.rejects(stream.ready, { code: 'cancelled' });
});

test('stop is tried again until the server can be reached', async () => {
  const server = new FakeServer(logOf(PIECES, { end: null }));
  server.plan = [{ hang: true }];
  const { client, world } = reading(server);
  const stream = client.start(request);
  await settle();
  const cancel = server.cancel.bind(server);
  let fails = 3;
  server.cancel = () => {
    if (fails-- > 0) throw new TypeError('fetch failed');
    return cancel();
  };
  const stopped = stream.stop();
  await world.advance(10_000);
  await stopped;
  assert.equal(stream.state, 'cancelled');
});

test('stop says when the server refuses', async () => {
  const server = new FakeServer(logOf(PIECES, { end: null }));
  server.plan = [{ hang: true }];
  const { client } = reading(server);
  const stream = client.start(request);
  await settle();
  server.cancel = () => refusal(403, 'forbidden');
  await assert.rejects(stream.stop(), { code: 'forbidden' });
  stream.close();
});

test('close only leaves', async () => {
  const server = new FakeServer(logOf(PIECES, { end: null }));
  server.plan = [{ hang: true }];
  const { client, world } = reading(server);
  const stream = client.start(request);
  await settle();
  stream.close();
  await settle();
  assert.equal(stream.state, 'closed');
  assert.equal(server.cancelled, 0);
  assert.equal(server.open.size, 0);
  assert.equal(world.timers, 0);
  assert.equal(await stream.done, 'closed');
  await assert.rejects(stream.finalText(), { code: 'closed', partial: 'Hello world' });
  server.append({ type: 'text.delta', item: 0, text: '!' });
  await settle();
  assert.equal(stream.text, 'Hello world');
});

test('close ends the waiting for a connection too', async () => {
  const server = new FakeServer([]);
  server.plan = [{ down: true }];
  const { attach, world } = reading(server);
  const stream = attach();
  await world.advance(100);
  stream.close();
  await settle();
  assert.equal(world.timers, 0);
});

test('a signal closes', async () => {
  const server = new FakeServer(logOf(PIECES, { end: null }));
  server.plan = [{ hang: true }];
  const { client } = reading(server);
  const abort = new AbortController();
  const stream = client.start(request, { signal: abort.signal });
  await settle();
  abort.abort();
  assert.equal(stream.state, 'closed');
  assert.equal(client.start(request, { signal: abort.signal }).state, 'closed');
});

test('every loop gets all events, and leaving one leaves the stream alone', async () => {
  const server = new FakeServer(logOf(PIECES, { end: null }));
  server.plan = [{ hang: true }];
  const { client } = reading(server);
  const stream = client.start(request);
  for await (const event of stream) if (event.type === 'text.delta') break;
  const rest = (async () => {
    const types = [];
    for await (const event of stream) types.push(event.type);
    return types;
  })();
  server.append({ type: 'finished', reason: 'length' });
  assert.deepEqual(await rest, ['stream.start', 'step.start', 'item.start', 'text.delta', 'text.delta', 'finished']);
  assert.equal(stream.finishReason, 'length');
});

test('listeners hear events, text, states, changes and the end; a defect in one harms nobody else', async (t) => {
  const server = new FakeServer(logOf(PIECES));
  const stream = reading(server).client.start(request);
  const heard = [];
  const defects = [];
  t.mock.method(globalThis, 'queueMicrotask', (throws) => {
    try {
      throws();
    } catch (error) {
      defects.push(error.message);
    }
  });
  stream.on('text', () => {
    throw new Error('mine');
  });
  stream.on('text', (delta, text) => heard.push([delta, text]));
  stream.on('state', (state) => heard.push(state));
  stream.on('end', () => heard.push('end'));
  let changes = 0;
  stream.on('change', () => changes++);
  const off = stream.on('event', () => heard.push('never'));
  off();
  await stream.done;
  assert.deepEqual(heard, ['streaming', ['Hello', 'Hello'], [' world', 'Hello world'], 'finished', 'end']);
  assert.deepEqual(defects, ['mine', 'mine']);
  assert.ok(changes <= 4, `${changes} changes for one read`);
});

test('streams are looked at, listed, stopped and removed by id', async () => {
  const server = new FakeServer(logOf(PIECES));
  const { client } = reading(server);
  assert.equal((await client.get(ID)).text, 'Hello world');
  await client.list({ state: 'running', limit: 5 });
  await client.cancel(ID);
  await client.delete(ID);
  const asked = server.requests.map(({ method, url }) => `${method} ${url.pathname}${url.search}`);
  assert.deepEqual(asked, [
    `GET /v1/streams/${ID}`,
    'GET /v1/streams?state=running&limit=5',
    `POST /v1/streams/${ID}/cancel`,
    `DELETE /v1/streams/${ID}`,
  ]);
});

for (const baseURL of ['http://server', 'http://server/', 'http://server/v1', 'http://server/v1/']) {
  test(`the address may be ${baseURL}`, async () => {
    const server = new FakeServer(logOf(PIECES));
    await createClient({ baseURL, fetch: server.fetch }).get(ID);
    assert.equal(server.requests[0].url.href, `http://server/v1/streams/${ID}`);
  });
}

test('without a page there must be an address', () => {
  assert.throws(() => createClient(), TypeError);
  assert.throws(() => createClient({ baseURL: '/llm' }), TypeError);
});
