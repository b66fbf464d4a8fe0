import { connect, createServer } from 'node:net';

/**
 * A network that breaks: what stands before a server, and resets every connection after so many bytes of answer.
 *
 * @param {string} url of the server
 * @param {() => number} bytes drawn for each connection
 */
export async function cutting(url, bytes) {
  const { hostname, port, host } = new URL(url);
  let cuts = 0;
  const listener = createServer((client) => {
    const server = connect(Number(port), hostname);
    let left = bytes();
    // The server answers only to its own name.
    client.on('data', (data) =>
      server.write(data.toString('latin1').replace(/^host: .*$/im, `host: ${host}`), 'latin1'),
    );
    server.on('data', (data) => {
      client.write(data.subarray(0, left));
      left -= data.length;
      if (left > 0) return;
      cuts++;
      client.destroySoon();
      server.destroy();
    });
    server.on('end', () => client.end());
    for (const [one, other] of [
      [client, server],
      [server, client],
    ]) {
      one.on('error', () => other.destroy());
      one.on('close', () => other.destroy());
    }
  });
  await new Promise((ready) => listener.listen(0, '127.0.0.1', ready));
  return {
    url: `http://127.0.0.1:${listener.address().port}`,
    cuts: () => cuts,
    close: () => listener.close(),
  };
}
