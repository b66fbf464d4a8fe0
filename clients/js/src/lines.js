import { HeadraceError } from './errors.js';

const LF = 10;
const CR = 13;
const BOM = Uint8Array.of(0xef, 0xbb, 0xbf);

/** The longest line, and the most data of one event, that a reader holds unless it is told otherwise: 8 MiB. */
export const MAX_BYTES = 2 ** 23;

/** @param {number} limit */
export const tooLong = (limit) =>
  new HeadraceError(`A line or an event is longer than ${limit} bytes.`, { code: 'line_too_long' });

/**
 * Bytes to lines: LF, CR or CR LF ends one, wherever the reads were cut, and a byte order mark at the start belongs to
 * none. The work is linear in the bytes: a read is searched once, a cut line is joined once.
 *
 * @param {(line: Uint8Array) => void} take gets each line without its end
 * @param {number} [maxBytes] of one line
 */
export function createLineReader(take, maxBytes = MAX_BYTES) {
  let bom = 0; // bytes of it that were seen
  let afterCR = false;
  /** @type {Uint8Array[]} */
  let held = []; // of a line whose end has not come
  let size = 0;

  /** @param {Uint8Array} piece */
  function hold(piece) {
    held.push(piece);
    size += piece.length;
    if (size > maxBytes) throw tooLong(maxBytes);
  }

  /** @param {Uint8Array} piece */
  function end(piece) {
    hold(piece);
    let line = piece;
    if (held[1]) {
      line = new Uint8Array(size);
      let at = 0;
      for (const each of held) {
        line.set(each, at);
        at += each.length;
      }
    }
    held = [];
    size = 0;
    take(line);
  }

  /**
   * Where the content of a read begins: after the byte order mark, and after the LF of a CR in the read before.
   *
   * @param {Uint8Array} bytes
   */
  function start(bytes) {
    let at = 0;
    while (bom < 3 && at < bytes.length) {
      if (bytes[at] === BOM[bom]) {
        bom++;
        at++;
      } else {
        if (bom) hold(BOM.slice(0, bom));
        bom = 3;
      }
    }
    if (afterCR && at < bytes.length) {
      afterCR = false;
      if (bytes[at] === LF) at++;
    }
    return at;
  }

  return {
    /**
     * @param {Uint8Array} bytes one read
     * @throws {HeadraceError} `line_too_long`; the lines before it were given
     */
    feed(bytes) {
      let at = start(bytes);
      let lf = bytes.indexOf(LF, at);
      let cr = bytes.indexOf(CR, at);
      while (lf >= 0 || cr >= 0) {
        const stop = lf < 0 || (cr >= 0 && cr < lf) ? cr : lf;
        end(bytes.subarray(at, stop));
        at = stop + 1;
        if (stop === cr) {
          afterCR = at === bytes.length;
          if (bytes[at] === LF) at++;
        }
        if (lf >= 0 && lf < at) lf = bytes.indexOf(LF, at);
        if (cr >= 0 && cr < at) cr = bytes.indexOf(CR, at);
      }
      if (at < bytes.length) hold(new Uint8Array(bytes.subarray(at))); // a copy: whoever read it may reuse it
    },

    /** The first byte of a line whose end is missing. */
    cut: () => held[0]?.[0] ?? (bom % 3 ? BOM[0] : undefined),
  };
}
