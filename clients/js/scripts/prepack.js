/** What the package has and the repository has not: the types as declarations, and the license. */
import { execFileSync } from 'node:child_process';
import { copyFileSync, rmSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const here = (path) => fileURLToPath(new URL(path, import.meta.url));

rmSync(here('../types'), { recursive: true, force: true });
execFileSync(process.execPath, [here('../node_modules/typescript/bin/tsc'), '-p', here('../tsconfig.pack.json')], {
  stdio: 'inherit',
});
copyFileSync(here('../../../LICENSE'), here('../LICENSE'));
