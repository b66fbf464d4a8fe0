/** What a program can see of accessibility: names, roles, structure, contrast, sizes. Returns a list of complaints. */
() => {
  const complaints = [];
  const complain = (element, what) => complaints.push(`${what}: ${element.outerHTML.slice(0, 140)}`);
  const seen = (element) => element.checkVisibility({ checkOpacity: true, visibilityProperty: true }) && element.getClientRects().length > 0;
  const all = (selector) => [...document.querySelectorAll(selector)].filter(seen);

  const nameOf = (element) =>
    element.getAttribute("aria-label") ||
    (element.getAttribute("aria-labelledby") ?? "").split(" ").map((id) => document.getElementById(id)?.textContent ?? "").join(" ").trim() ||
    [...(element.labels ?? [])].map((label) => label.textContent).join(" ").trim() ||
    element.textContent.trim() ||
    [...element.querySelectorAll("img[alt]")].map((image) => image.alt).join(" ").trim() ||
    element.title;
  for (const element of all("button, a[href], input, select, textarea, summary, [role=img], [role=region], [role=tab], [role=listbox], dialog")) {
    if (!nameOf(element)) complain(element, "no name");
  }
  for (const element of all("img")) if (!element.hasAttribute("alt")) complain(element, "no alt");

  const ids = [...document.querySelectorAll("[id]")].map((element) => element.id);
  for (const id of new Set(ids.filter((each, at) => ids.indexOf(each) !== at))) complaints.push(`twice the id ${id}`);
  for (const name of ["aria-controls", "aria-labelledby", "aria-describedby", "aria-activedescendant", "for"]) {
    for (const element of document.querySelectorAll(`[${name}]`)) {
      for (const id of element.getAttribute(name).split(" ")) if (id && !document.getElementById(id)) complain(element, `${name} names nothing`);
    }
  }
  const parents = { option: "[role=listbox], select", tab: "[role=tablist]" };
  for (const [role, parent] of Object.entries(parents)) {
    for (const element of document.querySelectorAll(`[role=${role}]`)) if (!element.closest(parent)) complain(element, `${role} without its parent`);
  }
  if (document.querySelectorAll("h1").length !== 1) complaints.push("not exactly one h1");
  if (document.querySelectorAll("main").length !== 1) complaints.push("not exactly one main");
  if (!document.documentElement.lang) complaints.push("no language");
  if (!document.title) complaints.push("no title");
  let level = 0;
  for (const heading of all("h1, h2, h3, h4, h5, h6")) {
    const next = Number(heading.tagName[1]);
    if (!heading.closest(".prose") && next > level + 1) complain(heading, `from level ${level} to`);
    if (!heading.closest(".prose")) level = next;
  }
  for (const element of all("*")) {
    const style = getComputedStyle(element);
    const scrolls = /auto|scroll/.test(style.overflowY + style.overflowX) && (element.scrollHeight > element.clientHeight + 1 || element.scrollWidth > element.clientWidth + 1);
    const inside = element.querySelector("button, a[href], input, select, textarea, [tabindex='0']");
    if (scrolls && element.tabIndex < 0 && !inside) complain(element, "scrolls, and not by the keyboard");
  }

  const channels = (color) => {
    const values = color.match(/[\d.]+/g)?.map(Number) ?? [0, 0, 0, 0];
    const scale = color.startsWith("color(") ? 255 : 1;
    return [...values.slice(0, 3).map((value) => value * scale), values[3] ?? 1];
  };
  const over = ([r, g, b, a], under) => [r, g, b].map((value, at) => value * a + under[at] * (1 - a));
  const luminance = (color) => {
    const [r, g, b] = color.map((value) => {
      const part = value / 255;
      return part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const background = (element) => {
    const layers = [];
    for (let each = element; each; each = each.parentElement) layers.push(channels(getComputedStyle(each).backgroundColor));
    const dark = getComputedStyle(document.documentElement).colorScheme === "dark";
    return layers.reverse().reduce((under, layer) => over(layer, under), dark ? [0, 0, 0] : [255, 255, 255]);
  };
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (texts.nextNode()) {
    const element = texts.currentNode.parentElement;
    if (!texts.currentNode.data.trim() || !seen(element) || element.closest(":disabled, .hidden, option, noscript")) continue;
    const style = getComputedStyle(element);
    const ground = background(element);
    const [one, other] = [luminance(over(channels(style.color), ground)), luminance(ground)].sort((a, b) => b - a);
    const ratio = (one + 0.05) / (other + 0.05);
    const size = parseFloat(style.fontSize);
    const large = size >= 24 || (size >= 18.66 && Number(style.fontWeight) >= 700);
    if (ratio < (large ? 3 : 4.5)) complain(element, `contrast ${ratio.toFixed(2)}`);
  }
  for (const element of all("button, .site-nav a, select, summary, .chip, .streams a")) {
    const { width, height } = element.getBoundingClientRect();
    if (Math.min(width, height) < 20) complain(element, `small, ${Math.round(width)} by ${Math.round(height)}`);
  }
  if (document.scrollingElement.scrollWidth > innerWidth) complaints.push(`wider than the screen: ${document.scrollingElement.scrollWidth}`);
  return complaints;
}
