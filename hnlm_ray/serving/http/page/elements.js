// One module in several files. The address holds everything that is shown, except a typed text: controls change the
// address, render() follows it.
// The API's answers are untrusted and reach the page as text nodes only.

const KNOBS = { k: 10, diversity: 0, penalty: 0, category: "", unseen: true };
const SOURCES = {
  personal: "by the trained vector", folded_in: "from the chosen items", profile: "from the text",
  popular: "as nothing is known",
};
const SIMILAR_K = 8, FIRST_SHOWN = 8, MOST_GHOSTS = 50, LONG_TEXT = 300, PAUSE_MS = 140;

const $ = (id) => document.getElementById(id);
const number = (value) => value.toLocaleString("en");

/** A score in at most seven characters: they are of any size, and the smallest ones are not all 0.000. */
function score(value) {
  const size = Math.abs(value);
  if (size >= 1e6) return value.toLocaleString("en", { notation: "compact", maximumFractionDigits: 1 });
  if (Number.isInteger(value) || size >= 1000) return number(Math.round(value));
  return size >= 0.001 ? value.toFixed(size >= 100 ? 1 : 3) : value.toExponential(1);
}

/** An element with attributes, or listeners where they are functions; strings become text nodes, nothing is parsed. */
function el(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") made.addEventListener(name, value);
    else made.setAttribute(name, value);
  }
  made.append(...children.filter((child) => child !== undefined));
  return made;
}

const button = (label, click, attributes = {}) => el("button", { type: "button", click, ...attributes }, label);
const soft = (...children) => el("p", { class: "soft" }, ...children);
const ghosts = (count) => Array.from({ length: count }, () => el("span", { class: "ghost" }));
const each = (items, draw) => items.map((item, place) => el("li", {}, draw(item, place)));

const titles = new Map(); // of the items shown so far: the address holds ids alone
function titleOf(item) {
  titles.set(item.item_id, item.title || item.item_id);
  return titles.get(item.item_id);
}

/** A button that opens the sheet of an item. */
function itemButton(item, kind, ...children) {
  const attributes = { class: kind, "data-item": item.item_id };
  return el("button", { type: "button", ...attributes }, ...(children.length ? children : [titleOf(item)]));
}
