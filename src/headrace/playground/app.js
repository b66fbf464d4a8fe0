/** The page: its views by the address' fragment, the key, the theme, and whether there is a network. */

import { Chat } from "./chat.js";
import { Compare } from "./compare.js";
import { h } from "./dom.js";
import { Inspector } from "./inspector.js";
import { KeyDialog } from "./key_dialog.js";
import { network, onUnauthorized } from "./session.js";
import { ThemeButton } from "./theme.js";
import { Watch } from "./watch.js";

const VIEWS = { "": Chat, compare: Compare, streams: Inspector, watch: Watch };
const TITLES = { "": "Chat", compare: "Compare", streams: "Streams", watch: "Stream" };
const main = document.getElementById("main");
const made = {};
let current = null;

/** Shows the view that the address names; a view that was left stays as it was. */
function route() {
  const [, name = "", ...rest] = location.hash.split("/");
  const known = name in VIEWS ? name : "";
  const view = (made[known] ??= create(known));
  if (current !== view) {
    current?.close?.();
    main.replaceChildren(view.element);
    current = view;
  }
  view.open?.(rest.map(decodeURIComponent));
  view.shown?.();
  document.title = `${TITLES[known]} · Headrace`;
  for (const link of document.querySelectorAll(".site-nav a")) {
    if (link.dataset.view === known) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
}

function create(name) {
  const view = new VIEWS[name]();
  view.load?.();
  return view;
}

function unlocked() {
  for (const view of Object.values(made)) view.unlocked?.();
}

const key = new KeyDialog(unlocked);
document.body.append(key.element);
document.querySelector(".site-tools").append(h("span", { class: "net", role: "status" }), key.button, new ThemeButton().element);
onUnauthorized((error) => key.open(error));

const net = document.querySelector(".net");
function showNetwork() {
  const text = network.isCut ? "Network cut" : navigator.onLine ? "" : "Offline";
  if (net.textContent !== text) net.textContent = text;
}
network.addEventListener("change", showNetwork);
for (const name of ["online", "offline"]) addEventListener(name, showNetwork);
showNetwork();

document.querySelector(".skip").addEventListener("click", (event) => {
  event.preventDefault(); // the fragment names the view
  main.focus();
});
addEventListener("hashchange", route);
route();
