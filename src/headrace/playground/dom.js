/** Elements without markup: text of a model only ever becomes text nodes. */

/**
 * An element with attributes and children.
 *
 * A property that begins with "on" is a listener, `class` and `text` are what they say, `true` is an empty attribute;
 * null, undefined and false leave it out.
 */
export function h(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties ?? {})) set(element, name, value);
  element.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

function set(element, name, value) {
  if (value === null || value === undefined || value === false) return;
  if (name === "text") element.textContent = value;
  else if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
  else element.setAttribute(name, value === true ? "" : String(value));
}

/** Copies text and says so on the button for a moment. */
export async function copy(button, text) {
  const label = button.dataset.label ?? (button.dataset.label = button.textContent);
  button.textContent = (await written(text)) ? "Copied" : "Not allowed";
  clearTimeout(Number(button.dataset.timer));
  button.dataset.timer = String(setTimeout(() => (button.textContent = label), 1500));
}

async function written(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    return false; // no permission, or a page that did not come over TLS or from this machine
  }
}
