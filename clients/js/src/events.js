/**
 * What a stream says, as the server writes it; docs/protocol.md of the server is the specification. Types only.
 *
 * @typedef {'text' | 'reasoning' | 'refusal' | 'tool_call' | 'source' | 'file' | 'data'} PartKind
 *
 * @typedef {object} Usage token totals
 * @property {number} input all of the prompt, cached tokens included
 * @property {number} output all that was written, reasoning included
 * @property {number} [cached]
 * @property {number} [reasoning]
 * @property {number} [cache_write]
 * @property {'provider' | 'estimated' | 'partial'} [source]
 *
 * @typedef {{type: 'stream.start', id: string, created: number, model: string, dialect: string, meta?: Record<string, string>}} StreamStart
 * @typedef {{type: 'step.start', provider: string, model: string, usage?: Usage}} StepStart
 * @typedef {{type: 'step.end', finish: string, usage?: Usage}} StepEnd
 * @typedef {{type: 'item.start', item: number, kind: PartKind, choice?: number, name?: string, call_id?: string}} ItemStart
 * @typedef {{type: 'item.end', item: number}} ItemEnd
 * @typedef {{type: 'text.delta', item: number, text: string, logprobs?: unknown}} TextDelta
 * @typedef {{type: 'args.delta', item: number, json: string}} ArgsDelta
 * @typedef {{type: 'signature', item: number, data: string}} Signature
 * @typedef {{type: 'choice.end', choice: number, reason: string}} ChoiceEnd
 * @typedef {{type: 'tool.result', call_id: string, output: unknown, is_error?: boolean}} ToolResult
 * @typedef {{type: 'object', item: number, value: unknown, complete?: string[]}} ObjectValue
 * @typedef {{type: 'attrs', values: Record<string, unknown>}} Attrs
 * @typedef {{type: 'status', code: string, message: string}} Status
 * @typedef {{type: 'usage'} & Usage} UsageEvent
 * @typedef {{type: 'finished', reason: string}} Finished
 * @typedef {{type: 'failed', code: string, message: string, retryable?: boolean, status?: number, retry_after?: number, param?: string}} Failed
 * @typedef {{type: 'cancelled', by: string}} Cancelled
 *
 * @typedef {Finished | Failed | Cancelled} TerminalEvent
 * @typedef {ItemStart | TextDelta | ArgsDelta | Signature | ObjectValue | ItemEnd | ChoiceEnd} ItemEvent
 * @typedef {StreamStart | StepStart | StepEnd | ToolResult | Attrs | Status | UsageEvent} OtherEvent
 * @typedef {ItemEvent | OtherEvent | TerminalEvent} StreamEvent
 *
 * @typedef {object} StreamRecord one entry of the log
 * @property {number} seq dense, from 0
 * @property {number} at_ms Unix time
 * @property {StreamEvent[]} events
 *
 * @typedef {object} StateItem
 * @property {PartKind} kind
 * @property {string} text or a tool call's arguments
 * @property {string} [name]
 * @property {string} [call_id]
 * @property {string} [signature]
 *
 * @typedef {object} StreamInfo what `GET /v1/streams/{id}` says
 * @property {string} id
 * @property {'running' | 'finished' | 'failed' | 'cancelled'} state
 * @property {number} position records so far
 * @property {string} model
 * @property {string} text
 * @property {{index: number, finish_reason: string | null, items: StateItem[]}[]} choices
 * @property {Usage | null} usage
 * @property {Record<string, string>} metadata
 * @property {string} [finish_reason]
 * @property {string} [cancelled_by]
 * @property {{code: string, message: string, retryable: boolean}} [error]
 */

export {};
