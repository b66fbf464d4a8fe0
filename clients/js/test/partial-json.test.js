import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parsePartialJSON } from '../src/index.js';
import { seeded } from './support/world.js';

const cases = [
  ['', undefined],
  ['{', {}],
  ['[', []],
  ['{"ci', {}],
  ['{"city"', {}],
  ['{"city":', {}],
  ['{"city": "Par', { city: 'Par' }],
  ['{"city": "Paris"', { city: 'Paris' }],
  ['{"city": "Paris",', { city: 'Paris' }],
  ['{"city": "Paris", "n": 1', { city: 'Paris' }],
  ['{"n": 12,', { n: 12 }],
  ['{"n": 12 ', { n: 12 }],
  ['{"ok": tru', {}],
  ['{"ok": true', {}],
  ['{"ok": true}', { ok: true }],
  ['[1, 2', [1]],
  ['[1, 2, [3, {"a": "b', [1, 2, [3, { a: 'b' }]]],
  ['["a", ["b"], "c', ['a', ['b'], 'c']],
  ['{"a": {"b": 1}, "c', { a: { b: 1 } }],
  ['"text so f', 'text so f'],
  ['["a\\', ['a']],
  ['["a\\n', ['a\n']],
  ['["a\\u00', ['a']],
  ['["a\\u00e9', ['a\u00e9']],
  ['["\\ud83d', ['']],
  ['["\\ud83d\\u', ['']],
  ['["\\ud83d\\ude00', ['😀']],
  ['["a\\\\', ['a\\']],
  ['{"a\\"b": 1}', { 'a"b': 1 }],
  ['  \n {"a": []', { a: [] }],
  ['{"a": "}", "b": "', { a: '}', b: '' }],
  ['Sure, here is', undefined],
  ['{"a" 1}', undefined],
  ['{"a": 1}}', undefined],
  ['{"a": nope, ', undefined],
];

for (const [text, value] of cases) {
  test(`${JSON.stringify(text)} is ${JSON.stringify(value)}`, () => assert.deepEqual(parsePartialJSON(text), value));
}

test('a key that would set a prototype is only a key', () => {
  const value = parsePartialJSON('{"__proto__": {"admin": "y');
  assert.equal(value.admin, undefined);
  assert.deepEqual(Object.keys(value), ['__proto__']);
});

test('the whole text gives the whole value, and every beginning a part of it', () => {
  const random = seeded(7);
  for (let round = 0; round < 200; round++) {
    const value = { [word(random)]: tree(random, 4) };
    const text = JSON.stringify(value, null, round % 3);
    assert.deepEqual(parsePartialJSON(text), value);
    for (let end = 1; end < text.length; end++) {
      const part = parsePartialJSON(text.slice(0, end));
      assert.ok(isPart(part, value), `${text.slice(0, end)} gave ${JSON.stringify(part)}`);
    }
  }
});

function word(random) {
  const letters = ['a', 'é', '😀', '"', '\\', '\n', '{', ']', ',', ':', ' ', '\u0001'];
  return Array.from({ length: Math.floor(random() * 6) }, () => letters[Math.floor(random() * letters.length)]).join(
    '',
  );
}

function tree(random, depth) {
  const kind = Math.floor(random() * (depth ? 6 : 4));
  if (kind === 0) return Math.round(random() * 2000) / 10 - 100;
  if (kind === 1) return random() < 0.5;
  if (kind === 2) return null;
  if (kind === 3) return word(random);
  const children = Array.from({ length: Math.floor(random() * 4) }, () => tree(random, depth - 1));
  return kind === 4 ? children : Object.fromEntries(children.map((child, at) => [`${at}${word(random)}`, child]));
}

/** A part has no value that the whole has not; strings may be shorter, and lists and objects have less at their end. */
function isPart(part, whole) {
  if (typeof part === 'string')
    return typeof whole === 'string' && whole.startsWith(part.replace(/[\ud800-\udbff]$/, ''));
  if (Array.isArray(part)) return part.every((each, at) => isPart(each, whole[at]));
  if (part && typeof part === 'object') {
    const keys = Object.keys(whole);
    return Object.keys(part).every((key, at) => key === keys[at] && isPart(part[key], whole[key]));
  }
  return part === whole;
}
