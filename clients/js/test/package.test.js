import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { measure } from '../scripts/size.js';

const here = (path) => fileURLToPath(new URL(path, import.meta.url));
const read = (path) => readFileSync(here(path), 'utf8');
const tsc = here('../node_modules/typescript/bin/tsc');
const run = (...args) => {
  const { status, stdout, stderr } = spawnSync(process.execPath, args, { encoding: 'utf8' });
  assert.equal(status, 0, stdout + stderr);
};

test('the client is small, and the README says how small', async () => {
  const { gzip, limit } = await measure();
  assert.ok(gzip <= limit, `${gzip} bytes`);
  const said = /\*\*([\d,]+) bytes\*\*/.exec(read('../README.md'))[1];
  assert.ok(Math.abs(said.replace(',', '') - gzip) < 60, `${gzip} bytes`); // compressors differ a little
});

test('no other package is needed, and React only for its hooks', () => {
  const { dependencies, peerDependenciesMeta } = JSON.parse(read('../package.json'));
  assert.equal(dependencies, undefined);
  assert.equal(peerDependenciesMeta.react.optional, true);
  for (const name of ['answer', 'api', 'client', 'follower', 'index', 'stream', 'transports']) {
    assert.doesNotMatch(read(`../src/${name}.js`), /from '(?!\.)/);
  }
});

test('the package has its types, and a program with types can use it', () => {
  run(here('../scripts/prepack.js'));
  const folder = mkdtempSync(join(tmpdir(), 'headrace-'));
  try {
    writeFileSync(join(folder, 'page.ts'), PROGRAM);
    const options = {
      strict: true,
      noEmit: true,
      module: 'nodenext',
      target: 'es2022',
      lib: ['es2022', 'dom'],
      types: [],
    };
    const paths = { headrace: [here('../types/index.d.ts')], 'headrace/react': [here('../types/react/index.d.ts')] };
    const compilerOptions = {
      ...options,
      paths: { ...paths, react: [here('../node_modules/@types/react/index.d.ts')] },
    };
    writeFileSync(join(folder, 'package.json'), '{"type": "module"}');
    writeFileSync(join(folder, 'tsconfig.json'), JSON.stringify({ compilerOptions, files: ['page.ts'] }));
    run(tsc, '-p', folder);
  } finally {
    rmSync(folder, { recursive: true });
  }
});

const PROGRAM = `
import { createClient, HeadraceError, type Stream, type StreamEvent, type StreamState } from 'headrace';
import { useHeadraceChat, useStream } from 'headrace/react';

const client = createClient({ baseURL: 'http://localhost', apiKey: 'k', headers: async () => ({ a: 'b' }) });
const stream: Stream = client.start({ model: 'm', messages: [{ role: 'user', content: 'hi' }], settings: { seed: 1 } });
const off: () => void = stream.on('text', (delta: string, text: string) => console.log(delta, text));
stream.on('state', (state: StreamState) => console.log(state));
const gone: Promise<string> = stream.finalText();
const object: unknown = stream.parts[0].object;
const gap: number | undefined = stream.timing.gap(0.95);
async function all(): Promise<void> {
  for await (const event of stream) if (event.type === 'text.delta') console.log(event.text.length);
  try {
    await client.attach(await stream.ready, { position: stream.position }).done;
  } catch (error) {
    if (error instanceof HeadraceError) console.log(error.code.length, error.partial.length, error.retryable === true);
  }
}
// @ts-expect-error there is no such event
stream.on('nothing', () => {});
// @ts-expect-error a model is needed
client.start({ messages: [] });
function Page(): string {
  const { text, stop } = useStream('id', { client });
  const chat = useHeadraceChat({ model: 'm', remember: 'hash' });
  void stop();
  void chat.send(text);
  return chat.messages.map((message) => message.role).join() + chat.error?.code;
}
export const used = [off, gone, object, gap, all, Page];
export type Seen = StreamEvent;
`;
