/** What the client weighs in a page, minified and compressed, without React. Fails over the limit. */
import { gzipSync } from 'node:zlib';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';

const LIMIT = 6000;

export async function measure() {
  const { outputFiles } = await build({
    entryPoints: [fileURLToPath(new URL('../src/index.js', import.meta.url))],
    bundle: true,
    minify: true,
    format: 'esm',
    target: 'es2022',
    write: false,
  });
  const [{ contents }] = outputFiles;
  return { minified: contents.length, gzip: gzipSync(contents, { level: 9 }).length, limit: LIMIT };
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const { minified, gzip, limit } = await measure();
  console.log(`${minified} bytes minified, ${gzip} with gzip, of ${limit}`);
  if (gzip > limit) process.exit(1);
}
