/**
 * @typedef {object} ErrorFields
 * @property {string} [code] the machine's name of what happened
 * @property {number} [status] the HTTP status, where there was one
 * @property {boolean} [retryable] whether the same request may succeed later
 * @property {string} [param] the request's field that is wrong
 * @property {number} [retryAfter] seconds to wait before asking again
 * @property {string} [partial] the text that had arrived before
 */

/** Every error of this package. The message says what happened and, where somebody can do something, what to do. */
export class HeadraceError extends Error {
  /** @override */
  name = 'HeadraceError';
  /** The machine's name of what happened. */
  code = 'connection_lost';
  /** The HTTP status, where there was one. @type {number | undefined} */
  status;
  /** Whether the same request may succeed later. */
  retryable = false;
  /** The request's field that is wrong. @type {string | undefined} */
  param;
  /** Seconds to wait before asking again. @type {number | undefined} */
  retryAfter;
  /** The text that had arrived before. */
  partial = '';

  /**
   * @param {string} message
   * @param {ErrorFields} fields
   * @param {unknown} [cause]
   */
  constructor(message, fields, cause) {
    super(message, { cause });
    Object.assign(this, fields);
  }
}

/**
 * Whether asking for the same thing again can never help.
 *
 * @param {HeadraceError} error
 */
export const isFinal = ({ status }) => /^4(?!08|25|29)/.test(`${status}`);

/**
 * An answer that is not a success, in the server's own words where it has some.
 *
 * @param {Response} response
 * @returns {Promise<HeadraceError>}
 */
export async function refused(response) {
  const { status, statusText, headers } = response;
  const said = (await response.json().catch(() => null))?.error ?? {};
  return new HeadraceError(said.message ?? `The server answered ${status} ${statusText}.`, {
    code: said.code ?? `http_${status}`,
    status,
    retryable: said.retryable ?? status >= 500,
    param: said.param,
    retryAfter: Number(headers.get('retry-after')) || 0,
  });
}

/**
 * A connection that did not come about, or ended before the stream did.
 *
 * @param {unknown} [cause]
 */
export const lost = (cause) =>
  cause instanceof HeadraceError
    ? cause
    : new HeadraceError('The server cannot be reached.', { retryable: true }, cause);
