export const ID = '50d5c4193cafaa854f7a03b73289bde8';
const utf8 = new TextEncoder();

/** The log of an answer with these pieces of text. */
export function logOf(pieces, { end = { type: 'finished', reason: 'stop' }, id = ID } = {}) {
  const batches = [
    [{ type: 'stream.start', id, owner: 'anonymous', created: 1, model: 'm', dialect: 'native' }],
    [
      { type: 'step.start', provider: 'mock', model: 'm' },
      { type: 'item.start', item: 0, kind: 'text' },
    ],
    ...pieces.map((text) => [{ type: 'text.delta', item: 0, text }]),
  ];
  if (end) batches.push([{ type: 'item.end', item: 0 }, { type: 'usage', input: 3, output: pieces.length }, end]);
  return batches.map((events, seq) => ({ seq, at_ms: seq, events }));
}

/** What `GET /v1/streams/{id}` says of a log. */
export function stateOf(log) {
  const events = log.flatMap((record) => record.events);
  const items = events
    .filter((event) => event.type === 'item.start')
    .map(({ item, kind, name, call_id }) => {
      const deltas = events.filter((event) => event.item === item && (event.text ?? event.json) !== undefined);
      return { kind, name, call_id, text: deltas.map((event) => event.text ?? event.json).join('') };
    });
  const last = events.at(-1) ?? {};
  const ended = ['finished', 'failed', 'cancelled'].includes(last.type);
  return {
    id: ID,
    state: ended ? last.type : 'running',
    position: log.length,
    text: items
      .filter((item) => item.kind === 'text')
      .map((item) => item.text)
      .join(''),
    choices: [{ index: 0, finish_reason: null, items }],
    usage: events.findLast((event) => event.type === 'usage') ?? null,
    metadata: {},
    ...(last.type === 'finished' && { finish_reason: last.reason }),
    ...(last.type === 'cancelled' && { cancelled_by: last.by }),
    ...(last.type === 'failed' && { error: { code: last.code, message: last.message, retryable: !!last.retryable } }),
  };
}

export const sse = (records) =>
  utf8.encode('retry: 2000\n' + records.map((r) => `id: n1.${r.seq + 1}\ndata: ${JSON.stringify(r)}\n\n`).join(''));

export const ndjson = (records) => utf8.encode(records.map((r) => JSON.stringify(r) + '\n').join(''));

export const refusal = (status, code, { message = code, retryable = false, ...headers } = {}) =>
  Response.json({ error: { code, message, retryable } }, { status, headers });

/**
 * A server that has one stream. Each connection is answered by the next of `plan`, the last one for ever:
 * `{cut: N}` ends the body after N bytes, `{hang: true}` leaves it open after what there is, `{down: true}` does not
 * answer, `{answer: () => Response}` answers something else.
 */
export class FakeServer {
  requests = [];
  plan = [{}];
  /** Bodies that are open: their controllers. */
  open = new Set();
  cancelled = 0;
  #bodies;

  constructor(log, { bodies = (bytes) => [bytes] } = {}) {
    this.log = log;
    this.#bodies = bodies;
  }

  /** Paths and positions of the connections that were made, in order. */
  get positions() {
    return this.requests.filter((r) => r.reads).map((r) => r.position);
  }

  fetch = async (input, init = {}) => {
    const url = new URL(input);
    const method = init.method ?? 'GET';
    const accept = init.headers?.accept ?? '';
    const reads =
      url.pathname.endsWith('/events') ||
      (url.pathname === '/v1/streams' && method === 'POST' && accept !== 'application/json');
    const position = url.searchParams.get('last_event_id') ?? 'n1.0';
    const request = {
      method,
      path: url.pathname,
      accept,
      reads,
      position,
      headers: init.headers,
      body: init.body && JSON.parse(init.body),
      url,
    };
    this.requests.push(request);
    if (init.signal?.aborted) throw init.signal.reason;
    if (url.pathname.endsWith('/cancel')) return this.cancel();
    if (url.pathname.endsWith('/token')) return Response.json({ token: 'read-token' });
    if (method === 'POST' && !reads) return Response.json({ id: ID, state: 'running' }, { status: 201 });
    if (!reads) return this.state(request);
    const step = this.plan.length > 1 ? this.plan.shift() : this.plan[0];
    if (step.down) throw new TypeError('fetch failed');
    if (step.answer) return step.answer(request);
    return this.#events(request, step, init.signal);
  };

  state() {
    return Response.json(stateOf(this.log));
  }

  cancel() {
    this.cancelled++;
    this.append({ type: 'cancelled', by: 'client' });
    return Response.json(stateOf(this.log));
  }

  /** The stream goes on: one more record, for everybody who reads. */
  append(...events) {
    const record = { seq: this.log.length, at_ms: 0, events };
    this.log.push(record);
    for (const body of [...this.open]) body.add(record);
  }

  /** The connections are lost. */
  drop() {
    for (const body of [...this.open]) body.drop();
  }

  heartbeat() {
    for (const body of this.open) body.raw(':\n');
  }

  #events({ accept, position }, { cut = Infinity, hang = false }, signal) {
    const from = Number(position.split('.')[1]);
    const records = this.log.slice(from);
    const encode = accept.includes('ndjson') ? ndjson : sse;
    const ended = stateOf(this.log).state !== 'running';
    if (ended && !records.length) return new Response(null, { status: 204 });
    const bytes = encode(records);
    const open = this.open;
    const bodies = this.#bodies;
    let wired = false;
    const pieces = [...bodies(bytes.slice(0, cut))];
    const stream = new ReadableStream({
      // An error would take back what was not read yet, so each piece waits for its reader.
      pull(controller) {
        if (pieces.length) return controller.enqueue(pieces.shift());
        if (cut < bytes.length) return controller.error(new TypeError('terminated'));
        if (ended && !hang) return controller.close();
        if (wired) return;
        wired = true;
        const body = {
          add: (record) => controller.enqueue(encode([record])),
          raw: (text) => controller.enqueue(utf8.encode(text)),
          drop: () => (open.delete(body), controller.error(new TypeError('terminated'))),
        };
        open.add(body);
        signal?.addEventListener('abort', () => open.delete(body) && controller.error(signal.reason));
      },
    });
    const headers = { 'content-type': `${accept}; charset=utf-8`, 'headrace-stream-id': ID };
    return new Response(stream, { headers });
  }
}
