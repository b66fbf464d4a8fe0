/** Says to a screen reader what others see; a stream's text is not read out while it grows. */

const place = () => document.getElementById("announcer");

export function announce(text) {
  const element = place();
  if (element.textContent === text) element.textContent = "";
  requestAnimationFrame(() => (element.textContent = text));
}
