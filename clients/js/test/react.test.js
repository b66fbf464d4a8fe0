import assert from 'node:assert/strict';
import { afterEach, beforeEach, mock, test } from 'node:test';
import { JSDOM } from 'jsdom';
import { reading } from './support/reader.js';
import { FakeServer, ID, logOf, refusal } from './support/server.js';
import { settle } from './support/world.js';

const dom = new JSDOM('<!doctype html><div id="root"></div>', { url: 'http://page/', pretendToBeVisual: true });
for (const name of ['window', 'document', 'navigator', 'location', 'history', 'sessionStorage']) {
  Object.defineProperty(globalThis, name, {
    value: name === 'window' ? dom.window : dom.window[name],
    configurable: true,
  });
}
globalThis.IS_REACT_ACT_ENVIRONMENT = true;

const { createElement: h, StrictMode, act } = await import('react');
const { createRoot } = await import('react-dom/client');
const { useHeadraceChat, useStream } = await import('../src/react/index.js');

const PIECES = ['Hello', ' world'];
let root;
let frames;

beforeEach(() => {
  mock.timers.enable({ apis: ['setTimeout'] }); // a slow machine must not paint by the clock
  sessionStorage.clear();
  history.replaceState(null, '', '/');
  frames = [];
  globalThis.requestAnimationFrame = (action) => frames.push(action);
  globalThis.cancelAnimationFrame = () => {};
});

afterEach(async () => {
  await act(async () => root?.unmount());
  root = undefined;
  mock.timers.reset();
});

/** The page paints. */
const frame = () =>
  act(async () => {
    await settle();
    for (const action of frames.splice(0)) action(0);
    await settle();
  });

async function mount(element) {
  root = createRoot(document.getElementById('root'));
  await act(async () => {
    root.render(element);
    await settle();
  });
  await frame();
}

/** A component that hands out what its hook gave, and how often it was rendered. */
function probe(hook) {
  const seen = { renders: 0, now: undefined };
  function Probe() {
    seen.now = hook();
    seen.renders++;
    return h('p', null, seen.now.text);
  }
  return [seen, Probe];
}

const running = () => {
  const server = new FakeServer(logOf(PIECES, { end: null }));
  server.plan = [{ hang: true }];
  return server;
};

test('a stream is shown by its id, and left with the component', async () => {
  const server = running();
  const { client } = reading(server);
  const [seen, Probe] = probe(() => useStream(ID, { client }));
  await mount(h(Probe));
  assert.equal(document.querySelector('p').textContent, 'Hello world');
  assert.equal(seen.now.state, 'streaming');
  await act(async () => root.unmount());
  await settle();
  assert.equal(server.open.size, 0);
  assert.equal(server.cancelled, 0);
});

test('strict mode asks once', async () => {
  const server = running();
  const { client } = reading(server);
  const [, Probe] = probe(() => useStream(ID, { client }));
  await mount(h(StrictMode, null, h(Probe)));
  assert.equal(server.requests.length, 1);
  assert.equal(document.querySelector('p').textContent, 'Hello world');
});

test("a stream that the page made is shown, and stays the page's", async () => {
  const server = running();
  const stream = reading(server).client.start({ model: 'm', messages: [] });
  const [seen, Probe] = probe(() => useStream(stream));
  await mount(h(StrictMode, null, h(Probe)));
  assert.equal(seen.now.text, 'Hello world');
  await act(async () => root.unmount());
  await settle();
  assert.equal(stream.state, 'streaming');
  stream.close();
});

test('without a stream it is idle, and another id is another stream', async () => {
  const server = running();
  const { client } = reading(server);
  let id = null;
  const [seen, Probe] = probe(() => useStream(id, { client }));
  await mount(h(Probe));
  assert.equal(seen.now.state, 'idle');
  id = ID;
  await act(async () => root.render(h(Probe, { key: 'same', id })));
  await frame();
  assert.equal(seen.now.text, 'Hello world');
  await act(async () => seen.now.stop());
  await frame();
  assert.equal(seen.now.state, 'cancelled');
});

test('two thousand tokens in a frame are one render', async () => {
  const server = running();
  const { client } = reading(server);
  const [seen, Probe] = probe(() => useStream(ID, { client }));
  await mount(h(Probe));
  const before = seen.renders;
  await act(async () => {
    for (let token = 0; token < 2000; token++) {
      server.append({ type: 'text.delta', item: 0, text: '.' });
      if (token % 100 === 0) await settle();
    }
    await settle();
  });
  assert.equal(seen.renders, before);
  await frame();
  assert.equal(seen.renders, before + 1);
  assert.equal(seen.now.text.length, 'Hello world'.length + 2000);
});

test('where nothing is painted, a timer does it', async () => {
  globalThis.requestAnimationFrame = undefined;
  const { everyFrame } = await import('../src/react/frames.js');
  let runs = 0;
  const touch = everyFrame(() => runs++);
  touch();
  touch();
  assert.equal(runs, 0);
  mock.timers.tick(16);
  assert.equal(runs, 1);
  globalThis.requestAnimationFrame = () => 1; // a hidden page never calls back
  touch();
  mock.timers.tick(250);
  assert.equal(runs, 2);
});

test('what was shown does not change under the component', async () => {
  const server = running();
  const { client } = reading(server);
  const [seen, Probe] = probe(() => useStream(ID, { client }));
  await mount(h(Probe));
  const { parts } = seen.now;
  server.append({ type: 'text.delta', item: 0, text: '!' });
  await frame();
  assert.equal(parts[0].text, 'Hello world');
  assert.equal(seen.now.parts[0].text, 'Hello world!');
});

function chatOf(server, options = {}) {
  const { client, world } = reading(server);
  const [seen, Probe] = probe(() => useHeadraceChat({ client, model: 'm', ...options }));
  return { seen, Probe, world };
}

const contents = (seen) => seen.now.messages.map(({ role, content }) => [role, content]);

test('a chat sends what was said, and shows the answer as one of its messages', async () => {
  const server = new FakeServer(logOf(PIECES));
  const { seen, Probe } = chatOf(server, {
    settings: { temperature: 0 },
    messages: [{ role: 'system', content: 'Be brief.' }],
  });
  await mount(h(StrictMode, null, h(Probe)));
  assert.equal(seen.now.status, 'idle');
  await act(async () => seen.now.send('Hi'));
  await frame();
  assert.deepEqual(contents(seen), [
    ['system', 'Be brief.'],
    ['user', 'Hi'],
    ['assistant', 'Hello world'],
  ]);
  assert.deepEqual([seen.now.status, seen.now.busy, seen.now.text], ['finished', false, 'Hello world']);
  await act(async () => seen.now.send('More'));
  await frame();
  assert.equal(server.requests.length, 2);
  assert.deepEqual(server.requests[1].body, {
    model: 'm',
    settings: { temperature: 0 },
    messages: [
      { role: 'system', content: 'Be brief.' },
      { role: 'user', content: 'Hi' },
      { role: 'assistant', content: 'Hello world' },
      { role: 'user', content: 'More' },
    ],
  });
  assert.equal(new Set(seen.now.messages.map((message) => message.id)).size, seen.now.messages.length);
});

test('stop keeps what was said; the next message stops what is under way', async () => {
  const server = running();
  const { seen, Probe } = chatOf(server);
  await mount(h(Probe));
  await act(async () => seen.now.send('Hi'));
  await frame();
  assert.equal(seen.now.busy, true);
  await act(async () => seen.now.stop());
  await frame();
  assert.deepEqual(contents(seen), [
    ['user', 'Hi'],
    ['assistant', 'Hello world'],
  ]);
  assert.equal(seen.now.status, 'cancelled');
  server.log = logOf(['Again'], { end: null });
  await act(async () => seen.now.send('One'));
  await frame();
  server.log = logOf(['Yes']);
  server.plan = [{}];
  const second = seen.now.stream;
  server.cancel = () => {
    for (const body of [...server.open]) body.add({ seq: 3, at_ms: 0, events: [{ type: 'cancelled', by: 'client' }] });
    return Response.json({});
  };
  await act(async () => seen.now.send('Two'));
  await frame();
  assert.equal(second.state, 'cancelled');
  assert.equal(contents(seen).at(-1)[1], 'Yes');
});

test('what is sent in one go is asked in order, and only the last is left to run', async () => {
  const server = running();
  const { seen, Probe } = chatOf(server);
  await mount(h(Probe));
  await act(async () => {
    seen.now.send('One');
    seen.now.send('Two');
  });
  await frame();
  assert.deepEqual(contents(seen).slice(0, 2), [
    ['user', 'One'],
    ['user', 'Two'],
  ]);
  assert.equal(server.requests.filter(({ path, method }) => method === 'POST' && path === '/v1/streams').length, 2);
  assert.ok(server.cancelled >= 1);
});

test('a call that was cut off, and an answer without words, are not sent back', async () => {
  const log = logOf([], { end: null });
  const call = [
    { type: 'item.start', item: 1, kind: 'tool_call', name: 'weather', call_id: 'c1' },
    { type: 'args.delta', item: 1, json: '{"ci' },
  ];
  log.push({ seq: 2, at_ms: 0, events: [...call, { type: 'failed', code: 'boom', message: 'No.' }] });
  const server = new FakeServer(log);
  const { seen, Probe } = chatOf(server);
  await mount(h(Probe));
  await act(async () => seen.now.send('One'));
  await frame();
  assert.equal(seen.now.messages.at(-1).parts[1].text, '{"ci');
  await act(async () => seen.now.send('Two'));
  await frame();
  assert.deepEqual(server.requests[1].body.messages, [
    { role: 'user', content: 'One' },
    { role: 'user', content: 'Two' },
  ]);
});

test('a failure is shown, and retry asks again in its place', async () => {
  const server = new FakeServer(
    logOf(['Oh'], { end: { type: 'failed', code: 'boom', message: 'No.', retryable: true } }),
  );
  const { seen, Probe } = chatOf(server);
  await mount(h(Probe));
  await act(async () => seen.now.send('Hi'));
  await frame();
  assert.equal(seen.now.error.code, 'boom');
  assert.deepEqual(contents(seen), [
    ['user', 'Hi'],
    ['assistant', 'Oh'],
  ]);
  server.log = logOf(PIECES);
  await act(async () => seen.now.retry());
  await frame();
  assert.equal(seen.now.error, undefined);
  assert.deepEqual(contents(seen), [
    ['user', 'Hi'],
    ['assistant', 'Hello world'],
  ]);
  assert.deepEqual(server.requests[1].body.messages, [{ role: 'user', content: 'Hi' }]);
});

test('tools: the call goes back with what the tool said', async () => {
  const log = logOf([], { end: null });
  log.push({
    seq: 2,
    at_ms: 0,
    events: [
      { type: 'item.start', item: 1, kind: 'tool_call', name: 'weather', call_id: 'c1' },
      { type: 'args.delta', item: 1, json: '{"city":"Paris"}' },
      { type: 'finished', reason: 'tool_calls' },
    ],
  });
  const server = new FakeServer(log);
  const { seen, Probe } = chatOf(server, { tools: [{ name: 'weather' }] });
  await mount(h(Probe));
  await act(async () => seen.now.send('Weather?'));
  await frame();
  assert.deepEqual(seen.now.parts[1].object, { city: 'Paris' });
  await act(async () => seen.now.send({ role: 'tool', call_id: 'c1', content: 'Rain.' }));
  await frame();
  assert.deepEqual(server.requests[1].body.messages, [
    { role: 'user', content: 'Weather?' },
    { role: 'assistant', content: '', tool_calls: [{ id: 'c1', name: 'weather', arguments: '{"city":"Paris"}' }] },
    { role: 'tool', call_id: 'c1', content: 'Rain.' },
  ]);
});

test('after a reload of the page the answer goes on where it is, without asking the model again', async () => {
  const server = running();
  const first = chatOf(server);
  await mount(h(first.Probe));
  await act(async () => first.seen.now.send('Hi'));
  await frame();
  await act(async () => root.unmount());
  const second = chatOf(server); // nothing but the tab's storage is left
  await mount(h(StrictMode, null, h(second.Probe)));
  assert.deepEqual(contents(second.seen), [
    ['user', 'Hi'],
    ['assistant', 'Hello world'],
  ]);
  server.append({ type: 'text.delta', item: 0, text: '!' }, { type: 'finished', reason: 'stop' });
  await frame();
  assert.deepEqual(contents(second.seen), [
    ['user', 'Hi'],
    ['assistant', 'Hello world!'],
  ]);
  assert.deepEqual(
    server.requests.map(({ method }) => method),
    ['POST', 'GET'],
  );
  await act(async () => root.unmount());
  const third = chatOf(server);
  await mount(h(third.Probe));
  assert.deepEqual(contents(third.seen), [
    ['user', 'Hi'],
    ['assistant', 'Hello world!'],
  ]);
  assert.equal(server.requests.length, 2);
  await act(async () => third.seen.now.retry());
  await frame();
  assert.deepEqual(server.requests[2].body.messages, [{ role: 'user', content: 'Hi' }]);
});

test('the address can carry the answer: whoever opens it sees it', async () => {
  const server = new FakeServer(logOf(PIECES));
  const first = chatOf(server, { remember: 'hash', name: 'talk' });
  await mount(h(first.Probe));
  await act(async () => first.seen.now.send('Hi'));
  await frame();
  assert.equal(location.hash, `#headrace.talk=${ID}`);
  await act(async () => root.unmount());
  const second = chatOf(server, { remember: 'hash', name: 'talk' });
  await mount(h(second.Probe));
  assert.deepEqual(contents(second.seen), [['assistant', 'Hello world']]);
  await act(async () => second.seen.now.clear());
  await frame();
  assert.equal(location.hash, '');
});

test('an answer that is gone from the server after a reload says so', async () => {
  sessionStorage.setItem(
    'headrace.chat',
    JSON.stringify({ messages: [{ role: 'user', content: 'Hi' }], streamId: ID }),
  );
  const server = new FakeServer([]);
  server.plan = [{ answer: () => refusal(404, 'not_found') }];
  const { seen, Probe } = chatOf(server);
  await mount(h(Probe));
  assert.equal(seen.now.error.code, 'not_found');
  assert.deepEqual(contents(seen), [['user', 'Hi']]);
});

test('a component that goes before the server has answered loses nothing', async () => {
  const server = running();
  let answer;
  const held = new Promise((resolve) => (answer = resolve));
  const { fetch } = server;
  server.fetch = async (...args) => (await held, fetch(...args));
  const { seen, Probe } = chatOf(server);
  await mount(h(Probe));
  await act(async () => seen.now.send('Hi'));
  const { stream } = seen.now;
  await act(async () => root.unmount());
  answer();
  await settle();
  assert.equal(JSON.parse(sessionStorage.getItem('headrace.chat')).streamId, ID);
  stream.close();
});

test('a storage that is full or foreign is done without', async () => {
  sessionStorage.setItem('headrace.chat', '{not json');
  const { seen, Probe } = chatOf(new FakeServer(logOf(PIECES)), { remember: 'session' });
  await mount(h(Probe));
  await act(async () => seen.now.send('Hi'));
  await frame();
  assert.equal(contents(seen).length, 2);
});
