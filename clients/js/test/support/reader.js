import { createClient } from '../../src/index.js';
import { ID } from './server.js';
import { settle, World } from './world.js';

/** A client of a fake server, in a world of its own. */
export function reading(server, options = {}) {
  const world = options.world ?? new World();
  const { environment } = world;
  const client = createClient({ baseURL: 'http://server', fetch: server.fetch, environment, ...options });
  return { world, client, attach: (position) => client.attach(ID, { position }) };
}

export const request = { model: 'm', messages: [{ role: 'user', content: 'hi' }] };

/** Let time pass until a stream has ended. */
export async function toTheEnd(stream, world, limit = 1000) {
  for (let turn = 0; !stream.ended; turn++) {
    if (turn === limit) throw new Error(`still ${stream.state} after ${limit} turns`);
    await settle();
    if (!stream.ended) await world.advance(500);
  }
}
