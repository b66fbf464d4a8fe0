/**
 * The value of JSON that has not all arrived. What is open is closed; a key without its value, and a number or a word
 * that could still grow, are left out; a string is given as far as it goes.
 *
 * ```js
 * parsePartialJSON('{"city": "Par')            // {city: 'Par'}
 * parsePartialJSON('{"ok": true, "n": [1, 2')  // {ok: true, n: [1]}
 * ```
 *
 * @param {string} text
 * @returns {unknown} undefined where there is no value yet, or the text is not JSON
 */
export function parsePartialJSON(text) {
  /** @type {string[]} */
  const closers = []; // of what is open, the innermost first
  let safe = ''; // a beginning that is JSON once the closers follow
  let key = false; // whether a string here would be a key
  for (let at = 0; at < text.length;) {
    const char = text[at++];
    if (char === '"') {
      let whole = at; // no escape is cut here
      while (at < text.length && text[at] !== '"') {
        at += text[at] !== '\\' ? 1 : text[at + 1] === 'u' ? 6 : 2;
        if (at <= text.length && !/\\u[dD][89abAB]..$/.test(text.slice(at - 6, at))) whole = at;
      }
      const cut = at++ >= text.length;
      if (!key) safe = cut ? text.slice(0, whole) + '"' : text.slice(0, at);
      if (cut) break;
    } else if (/[-+.\w]/.test(char)) {
      while (/[-+.\w]/.test(text[at] ?? '')) at++;
      if (at < text.length) safe = text.slice(0, at);
    } else if (char === ':') key = false;
    else {
      if (char === '{') closers.unshift('}');
      if (char === '[') closers.unshift(']');
      if (/[}\]]/.test(char)) closers.shift();
      if (/[{}[\]]/.test(char)) safe = text.slice(0, at);
      if (/[{[,]/.test(char)) key = closers[0] === '}';
    }
  }
  try {
    return JSON.parse(safe + closers.join(''));
  } catch {
    return undefined;
  }
}
