/** The pages of the documentation, as they are written there, against a real server at HEADRACE_URL. */
import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { transformSync } from 'esbuild';
import { JSDOM } from 'jsdom';

const here = (path) => fileURLToPath(new URL(path, import.meta.url));
const folder = mkdtempSync(join(tmpdir(), 'headrace-'));
const DOCUMENTS = { 'docs/browser.md': '../../../../docs/browser.md', 'README.md': '../../README.md' };

const windows = [];

after(() => {
  rmSync(folder, { recursive: true });
  for (const window of windows) window.close(); // they count frames for ever
});

/** The first example in a language, with the server and the model of this test. */
function example(path, language) {
  const [, rest] = readFileSync(here(path), 'utf8').split('```' + language + '\n');
  const [code] = rest.split('```');
  return code.replaceAll('http://127.0.0.1:8000', process.env.HEADRACE_URL).replaceAll('smollm2-135m', 'mock');
}

/** A page as far as a program can tell. */
function open(html) {
  const { window } = new JSDOM(html.replace(/<script.*<\/script>/s, ''), {
    url: 'http://127.0.0.1/',
    pretendToBeVisual: true,
  });
  const names = ['window', 'document', 'navigator', 'location', 'history', 'sessionStorage', 'FormData'];
  const frames = ['requestAnimationFrame', 'cancelAnimationFrame'];
  const values = [
    ...names.map((name) => [name, window[name]]),
    ...frames.map((name) => [name, window[name].bind(window)]),
  ];
  for (const [name, value] of values) Object.defineProperty(globalThis, name, { value, configurable: true });
  for (const { id } of window.document.querySelectorAll('[id]')) {
    Object.defineProperty(globalThis, id, { value: window.document.getElementById(id), configurable: true });
  }
  windows.push(window);
  return window;
}

/** Run a module of a page; what it imports by name or from the page's server is here. */
function run(name, code) {
  const path = join(folder, name);
  const found = (_, from) => `from '${import.meta.resolve(from.replace('/clients/js/src/index.js', 'headrace'))}'`;
  writeFileSync(path, code.replace(/from ['"](.*?)['"]/g, found));
  return import(pathToFileURL(path));
}

/** Resolves when it holds; the document says that something has changed. */
function until(window, holds) {
  return new Promise((resolve) => {
    const look = () => holds() && (observer.disconnect(), resolve());
    const observer = new window.MutationObserver(look);
    observer.observe(window.document, { childList: true, subtree: true, characterData: true });
    look();
  });
}

for (const [name, path] of Object.entries(DOCUMENTS)) {
  test(`the page of ${name} shows an answer`, async () => {
    const html = example(path, 'html');
    const window = open(html);
    await run(`${name.replace('/', '-')}.mjs`, html.split('<script type="module">')[1].split('</script>')[0]);
    await until(window, () => window.document.getElementById('state').textContent === 'finished');
    assert.match(window.document.getElementById('text').textContent, /\w+ \w+/);
  });

  test(`the React page of ${name} holds a conversation`, async () => {
    const window = open('<!doctype html><div id="root"></div>');
    const { createElement, StrictMode } = await import('react');
    const { createRoot } = await import('react-dom/client');
    const { code } = transformSync(example(path, 'jsx'), { loader: 'jsx', jsx: 'automatic', format: 'esm' });
    const { Chat } = await run(`${name.replace('/', '-')}-react.mjs`, code);
    const root = createRoot(window.document.getElementById('root'));
    root.render(createElement(StrictMode, null, createElement(Chat)));
    await until(window, () => window.document.querySelector('input'));
    const input = window.document.querySelector('input');
    input.value = 'tell';
    const form = window.document.querySelector('form');
    if (form) form.requestSubmit();
    else input.dispatchEvent(new window.KeyboardEvent('keydown', { key: 'Enter', bubbles: true }));
    const shown = () => window.document.body.textContent;
    await until(window, () => /assistant/.test(shown()) && !/Stop/.test(shown()));
    assert.match(shown(), /user:? tell.*assistant:? \w+/);
    root.unmount();
  });
}
