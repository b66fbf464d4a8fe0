import assert from 'node:assert/strict';
import { test } from 'node:test';
import { reading, toTheEnd } from './support/reader.js';
import { FakeServer, ID, logOf, ndjson, refusal, sse } from './support/server.js';
import { seeded, settle } from './support/world.js';

const PIECES = ['Grüße', ' aus', ' 東京', ' 😀', ' end'];
const TEXT = PIECES.join('');

async function eventsOf(stream) {
  const events = [];
  for await (const event of stream) events.push(event);
  return events;
}

for (const [name, encode] of Object.entries({ fetch: sse, ndjson })) {
  test(`${name}: cut at every byte, nothing is lost and nothing comes twice`, async () => {
    const log = logOf(PIECES);
    const size = encode(log).length;
    for (let cut = 0; cut < size; cut++) {
      const server = new FakeServer([...log]);
      server.plan = [{ cut }, {}];
      const { world, attach } = reading(server, { transports: [name] });
      const stream = attach();
      await toTheEnd(stream, world);
      await settle();
      assert.equal(stream.text, TEXT);
      assert.deepEqual(
        await eventsOf(stream),
        log.flatMap((record) => record.events),
        `cut at ${cut}`,
      );
      assert.equal(world.timers, 0);
    }
  });
}

test('cut again and again, at random, in reads of random size', async () => {
  for (let seed = 0; seed < 60; seed++) {
    const random = seeded(seed);
    const log = logOf(Array.from({ length: 30 }, (_, at) => `${at}é `));
    const bodies = function* (bytes) {
      for (let at = 0; at < bytes.length;) {
        const size = 1 + Math.floor(random() * 200);
        yield bytes.slice(at, (at += size));
      }
    };
    const server = new FakeServer(log, { bodies });
    server.plan = [...Array.from({ length: 12 }, () => ({ cut: Math.floor(random() * 1200) })), {}];
    const { world, attach } = reading(server, { transports: [random() < 0.5 ? 'fetch' : 'ndjson'] });
    const stream = attach();
    await toTheEnd(stream, world);
    assert.equal(
      stream.text,
      log
        .flatMap((r) => r.events)
        .map((e) => e.text ?? '')
        .join(''),
    );
    assert.deepEqual(
      await eventsOf(stream),
      log.flatMap((record) => record.events),
    );
  }
});

test('a record that comes again is not shown again', async () => {
  const log = logOf(PIECES);
  const server = new FakeServer(log);
  const answer = () =>
    new Response(sse([...log.slice(0, 4), ...log.slice(1)]), { headers: { 'content-type': 'text/event-stream' } });
  server.plan = [{ answer }];
  const stream = reading(server).attach();
  await stream.done;
  assert.equal(stream.text, TEXT);
});

test('a record that is missing is asked for again', async () => {
  const log = logOf(PIECES);
  const server = new FakeServer(log);
  const answer = () =>
    new Response(sse([...log.slice(0, 3), ...log.slice(4)]), { headers: { 'content-type': 'text/event-stream' } });
  server.plan = [{ answer }, {}];
  const { world, attach } = reading(server);
  const stream = attach();
  await toTheEnd(stream, world);
  assert.equal(stream.text, TEXT);
  assert.deepEqual(server.positions, ['n1.0', 'n1.3']);
});

test('a body that ends before the stream does is no end', async () => {
  const server = new FakeServer(logOf(PIECES, { end: null }));
  server.plan = [{ hang: true }];
  const { world, attach } = reading(server);
  const stream = attach();
  await settle();
  server.drop();
  await settle();
  assert.equal(stream.state, 'reconnecting');
  await world.advance(500);
  server.append({ type: 'finished', reason: 'stop' });
  await settle();
  assert.equal(stream.state, 'finished');
  assert.equal(stream.text, TEXT);
});

test('a page of a captive portal is not taken for the stream', async () => {
  const server = new FakeServer(logOf(PIECES));
  const portal = () => new Response('<html>Please log in</html>', { headers: { 'content-type': 'text/html' } });
  server.plan = [{ answer: portal }, {}];
  const { world, attach } = reading(server);
  const stream = attach();
  await toTheEnd(stream, world);
  assert.equal(stream.text, TEXT);
});

test('a position is kept as text and read on from', async () => {
  const log = logOf(PIECES);
  const server = new FakeServer(log.slice(0, 5));
  server.plan = [{ hang: true }];
  const { client, attach } = reading(server);
  const first = attach();
  await settle();
  const { id, position } = JSON.parse(JSON.stringify({ id: first.id, position: first.position }));
  assert.equal(position, 'n1.5');
  first.close();
  server.log = log;
  server.plan = [{}];
  const second = client.attach(id, { position });
  await second.done;
  assert.equal(first.text + second.text, TEXT);
});

test('whoever has everything already learns how it ended', async () => {
  const log = logOf(PIECES);
  const stream = reading(new FakeServer(log)).attach(`n1.${log.length}`);
  assert.equal(await stream.done, 'finished');
  assert.equal(stream.text, '');
});

for (const position of ['', 'c1u.5', 'n1', 'n1.x', `${ID}:n1.3`]) {
  test(`the position "${position}" is refused at once`, () => {
    const { client } = reading(new FakeServer([]));
    assert.throws(() => client.attach(ID, { position }), TypeError);
  });
}

test('waiting grows from half a second to eight, by chance', async () => {
  const server = new FakeServer(logOf(PIECES));
  server.plan = [{ down: true }];
  const { world, attach } = reading(server);
  const stream = attach();
  const waits = [];
  let last = 0;
  for (let tries = 1; waits.length < 7;) {
    await world.advance(100);
    if (server.requests.length > tries) {
      waits.push(world.time - last);
      last = world.time;
      tries = server.requests.length;
    }
  }
  assert.deepEqual(waits, [500, 1000, 2000, 4000, 8000, 8000, 8000]);
  world.chance = 0.25; // full jitter: anything between nothing and that
  await world.advance(8000);
  const before = server.requests.length;
  await world.advance(2000);
  assert.equal(server.requests.length, before + 1);
  stream.close();
});

test('a connection that brought something makes the next wait short again', async () => {
  const server = new FakeServer(logOf(PIECES));
  server.plan = [{ down: true }, { down: true }, { down: true }, { cut: 400 }, {}];
  const { world, attach } = reading(server);
  const stream = attach();
  await world.advance(500 + 1000 + 2000);
  assert.equal(stream.state, 'reconnecting');
  await world.advance(500);
  assert.equal(stream.state, 'finished');
});

test('Retry-After is kept, also when the network comes back before', async () => {
  const server = new FakeServer(logOf(PIECES));
  server.plan = [{ answer: () => refusal(503, 'overloaded', { retryable: true, 'retry-after': '20' }) }, {}];
  const { world, attach } = reading(server);
  const stream = attach();
  await world.advance(19_000);
  await world.wake();
  assert.equal(server.requests.length, 1);
  await world.advance(1000);
  assert.equal(stream.state, 'finished');
});

test('the network coming back, or the page becoming visible, ends the waiting', async () => {
  const server = new FakeServer(logOf(PIECES));
  server.plan = [{ down: true }, { down: true }, { down: true }, { down: true }, {}];
  const { world, attach } = reading(server);
  const stream = attach();
  await world.advance(3500);
  assert.equal(server.requests.length, 4);
  await world.wake();
  assert.equal(stream.text, TEXT);
  assert.equal(world.time, 3500);
});

test('offline for an hour it hardly tries, and goes on where it was', async () => {
  const log = logOf(PIECES, { end: null });
  const server = new FakeServer(log);
  server.plan = [{ hang: true }, { down: true }];
  const { world, attach } = reading(server);
  const stream = attach();
  await settle();
  world.isOnline = false;
  server.drop();
  await settle();
  assert.equal(stream.state, 'offline');
  await world.advance(3_600_000);
  assert.ok(server.requests.length < 130, `${server.requests.length} requests`);
  assert.equal(stream.text, TEXT);
  world.isOnline = true;
  server.plan = [{}];
  server.append({ type: 'text.delta', item: 0, text: '!' }, { type: 'finished', reason: 'stop' });
  await world.wake();
  assert.equal(stream.state, 'finished');
  assert.equal(stream.text, `${TEXT}!`);
});

test('without a heartbeat it stalls, then connects anew', async () => {
  const server = new FakeServer(logOf(PIECES, { end: null }));
  server.plan = [{ hang: true }];
  const { world, attach } = reading(server);
  const stream = attach();
  const states = [];
  stream.on('state', (state) => states.push(state));
  await world.advance(30_000);
  assert.equal(stream.state, 'stalled');
  server.heartbeat();
  await settle();
  assert.equal(stream.state, 'streaming');
  await world.advance(42_000);
  assert.deepEqual(states, ['streaming', 'stalled', 'streaming', 'stalled', 'reconnecting', 'streaming']);
  assert.deepEqual(server.positions, ['n1.0', `n1.${server.log.length}`]);
  stream.close();
});

test('with heartbeats it waits for a model that thinks', async () => {
  const server = new FakeServer(logOf([], { end: null }));
  server.plan = [{ hang: true }];
  const { world, attach } = reading(server);
  const stream = attach();
  for (let minute = 0; minute < 40; minute++) {
    await world.advance(15_000);
    server.heartbeat();
  }
  assert.equal(stream.state, 'streaming');
  assert.equal(server.requests.length, 1);
  stream.close();
});

test('a laptop that was closed connects anew when it is opened', async () => {
  const server = new FakeServer(logOf(PIECES, { end: null }));
  server.plan = [{ hang: true }];
  const { world, attach } = reading(server);
  const stream = attach();
  await world.advance(1000);
  world.slept = 3_600_000; // the monotonic clock stood still, and the socket died
  await world.wake();
  assert.equal(stream.state, 'reconnecting');
  await world.advance(500);
  assert.equal(stream.state, 'streaming');
  assert.equal(server.requests.length, 2);
  stream.close();
});

test('a server that was restarted no longer has the stream: a clear error, and the text stays', async () => {
  const server = new FakeServer(logOf(PIECES, { end: null }));
  server.plan = [{ hang: true }, { answer: () => refusal(404, 'not_found', { message: `There is no stream ${ID}.` }) }];
  const { world, attach } = reading(server);
  const stream = attach();
  await settle();
  server.drop();
  await world.advance(500);
  assert.equal(stream.state, 'failed');
  assert.equal(stream.text, TEXT);
  await assert.rejects(stream.done, {
    name: 'HeadraceError',
    code: 'not_found',
    status: 404,
    retryable: false,
    partial: TEXT,
  });
  assert.match(stream.error.message, /no longer has this answer/);
  assert.equal(world.timers, 0);
});

for (const [status, code] of [
  [401, 'invalid_api_key'],
  [403, 'forbidden'],
  [400, 'invalid_cursor'],
  [404, 'not_found'],
]) {
  test(`${status} cannot heal and is not tried again`, async () => {
    const server = new FakeServer(logOf(PIECES));
    server.plan = [{ answer: () => refusal(status, code, { message: 'What to do.' }) }];
    const { world, attach } = reading(server);
    const stream = attach();
    await world.advance(60_000);
    assert.equal(server.requests.length, 1);
    assert.equal(stream.error.code, code);
    assert.equal(stream.error.status, status);
  });
}

for (const status of [408, 425, 429, 500, 502, 503, 504]) {
  test(`${status} on the way to a stream heals`, async () => {
    const server = new FakeServer(logOf(PIECES));
    server.plan = [{ answer: () => new Response('<html>', { status }) }, {}];
    const { world, attach } = reading(server);
    const stream = attach();
    await toTheEnd(stream, world);
    assert.equal(stream.text, TEXT);
  });
}

test('a stream that failed says why, and keeps what it has', async () => {
  const end = {
    type: 'failed',
    code: 'upstream_incomplete',
    message: 'It stopped.',
    retryable: true,
    status: 502,
    retry_after: 3,
  };
  const stream = reading(new FakeServer(logOf(PIECES, { end }))).attach();
  await assert.rejects(stream.done, {
    code: 'upstream_incomplete',
    message: 'It stopped.',
    status: 502,
    retryable: true,
    retryAfter: 3,
    partial: TEXT,
  });
  await assert.rejects(stream.finalText(), { partial: TEXT });
  assert.equal(stream.state, 'failed');
  const seen = [];
  await assert.rejects(
    async () => {
      for await (const event of stream) seen.push(event);
    },
    { code: 'upstream_incomplete' },
  );
  assert.equal(seen.at(-1).type, 'failed');
});
