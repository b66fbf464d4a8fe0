/** What outlives a reload: in this tab's storage, which other tabs and other visits do not see. */

const PREFIX = "headrace.";

/** A kept value, or the fallback where there is none that can be read. */
export function kept(name, fallback = null) {
  try {
    return JSON.parse(sessionStorage.getItem(PREFIX + name)) ?? fallback;
  } catch {
    return fallback;
  }
}

/** Keeps a value as JSON; null forgets it. What does not fit is not kept: it is still on the page. */
export function keep(name, value) {
  try {
    if (value === null) sessionStorage.removeItem(PREFIX + name);
    else sessionStorage.setItem(PREFIX + name, JSON.stringify(value));
  } catch {
    // full, or switched off
  }
}
