import assert from 'node:assert/strict';
import { test } from 'node:test';
import { sleep, system } from '../src/environment.js';
import { World } from './support/world.js';

function define(t, name, value) {
  const before = Object.getOwnPropertyDescriptor(globalThis, name);
  Object.defineProperty(globalThis, name, { value, configurable: true, writable: true });
  t.after(() => (before ? Object.defineProperty(globalThis, name, before) : delete globalThis[name]));
}

test('without a page and a navigator it is online, and nothing wakes it', (t) => {
  define(t, 'navigator', undefined);
  assert.equal(system.online(), true);
  system.onWake(() => assert.fail())();
});

test('what a browser knows of the network counts', (t) => {
  define(t, 'navigator', { onLine: false });
  assert.equal(system.online(), false);
});

test('a page wakes when the network returns and when it is looked at, until that is ended', (t) => {
  const page = Object.assign(new EventTarget(), { hidden: true });
  const window = new EventTarget();
  define(t, 'document', page);
  define(t, 'addEventListener', window.addEventListener.bind(window));
  define(t, 'removeEventListener', window.removeEventListener.bind(window));
  let woken = 0;
  const end = system.onWake(() => woken++);
  page.dispatchEvent(new Event('visibilitychange'));
  assert.equal(woken, 0);
  page.hidden = false;
  page.dispatchEvent(new Event('visibilitychange'));
  window.dispatchEvent(new Event('online'));
  assert.equal(woken, 2);
  end();
  page.dispatchEvent(new Event('visibilitychange'));
  window.dispatchEvent(new Event('online'));
  assert.equal(woken, 2);
});

test('a sleep that is ended leaves no timer', async () => {
  const world = new World();
  const abort = new AbortController();
  const asleep = sleep(world.environment, 1000, abort.signal);
  abort.abort();
  await asleep;
  assert.equal(world.timers, 0);
});
