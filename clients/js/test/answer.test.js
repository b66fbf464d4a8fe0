import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Answer } from '../src/answer.js';
import { Timing } from '../src/timing.js';

function fold(...events) {
  const answer = new Answer();
  for (const event of events) answer.apply(event);
  return answer;
}

test('parts are kept apart by item, however they are mixed', () => {
  const answer = fold(
    { type: 'item.start', item: 0, kind: 'reasoning' },
    { type: 'item.start', item: 1, kind: 'tool_call', name: 'a', call_id: 'c1' },
    { type: 'item.start', item: 2, kind: 'tool_call', name: 'b', call_id: 'c2' },
    { type: 'args.delta', item: 2, json: '{"x"' },
    { type: 'args.delta', item: 1, json: '{"y": [1, ' },
    { type: 'text.delta', item: 0, text: 'Hm' },
    { type: 'args.delta', item: 2, json: ': 1}' },
    { type: 'signature', item: 0, data: 'sig' },
    { type: 'item.end', item: 2 },
  );
  const [reasoning, first, second] = answer.parts;
  assert.equal(answer.text, '');
  assert.deepEqual([reasoning.text, reasoning.signature], ['Hm', 'sig']);
  assert.deepEqual([first.callId, first.name, first.object, first.done], ['c1', 'a', { y: [1] }, false]);
  assert.deepEqual([second.callId, second.text, second.object, second.done], ['c2', '{"x": 1}', { x: 1 }, true]);
});

test('text is that of the first choice; another choice has its own part', () => {
  const answer = fold(
    { type: 'item.start', item: 0, kind: 'text' },
    { type: 'item.start', item: 1, kind: 'text', choice: 1 },
    { type: 'text.delta', item: 1, text: 'other' },
    { type: 'text.delta', item: 0, text: 'one' },
  );
  assert.equal(answer.text, 'one');
  assert.equal(answer.parts[1].text, 'other');
});

test('structured output: the text so far as a value, or what the server says that it is', () => {
  const answer = fold(
    { type: 'item.start', item: 0, kind: 'text' },
    { type: 'text.delta', item: 0, text: ' {"a": [true, "x' },
  );
  assert.deepEqual(answer.parts[0].object, { a: [true, 'x'] });
  answer.apply({ type: 'object', item: 0, value: { a: [] } });
  assert.deepEqual(answer.parts[0].object, { a: [] });
  assert.equal(fold({ type: 'text.delta', item: 0, text: 'Plain.' }).parts[0].object, undefined);
});

test('from a position on, an item whose start is not known gets the likeliest kind', () => {
  const answer = fold({ type: 'text.delta', item: 3, text: 'a' }, { type: 'args.delta', item: 5, json: '{' });
  assert.deepEqual(
    answer.parts.map(({ item, kind }) => [item, kind]),
    [
      [3, 'text'],
      [5, 'tool_call'],
    ],
  );
});

test('an event that is not known yet changes nothing', () => {
  assert.deepEqual(fold({ type: 'something.new', item: 0 }).parts, []);
});

test('times: to the first piece, between reads, and the share of gaps', () => {
  const timing = new Timing(100);
  assert.deepEqual(
    [timing.ttft, timing.lastGap, timing.gap(0.5), timing.tokensPerSecond],
    [undefined, undefined, undefined, undefined],
  );
  timing.arrived(350, 1);
  assert.deepEqual([timing.ttft, timing.lastGap, timing.tokensPerSecond], [250, undefined, undefined]);
  for (let at = 1; at <= 100; at++) timing.arrived(350 + at * 10 + (at === 100 ? 490 : 0), 2);
  assert.equal(timing.lastGap, 500);
  assert.deepEqual([timing.gap(0), timing.gap(0.5), timing.gap(0.99), timing.gap(1)], [10, 10, 10, 500]);
  assert.equal(timing.tokens, 201);
  assert.equal(timing.tokensPerSecond, 200 / 1.49);
});

test('times of a long stream take no more memory, and follow the latest gaps', () => {
  const timing = new Timing(0);
  for (let at = 0; at <= 10_000; at++) timing.arrived(at * 20, 1);
  for (let at = 1; at <= 4096; at++) timing.arrived(200_000 + at * 5, 1);
  assert.equal(timing.gap(1), 5);
});
