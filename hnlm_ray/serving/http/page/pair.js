// Two lists side by side

function svg(tag, attributes) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  return made;
}

function makePair(...heads) {
  const lists = heads.map(() => el("ol"));
  const boxes = heads.map((head, side) => el("section", { class: "side" }, el("header", {}, ...head), lists[side]));
  const lines = svg("svg", { class: "lines", "aria-hidden": "true", preserveAspectRatio: "none" });
  const box = el("div", { class: "pair" }, boxes[0], lines, boxes[1]);
  const light = (event) => {
    const item = event.type.endsWith("out") ? undefined : event.target.closest("[data-item]")?.dataset.item;
    for (const one of box.querySelectorAll("[data-item], path")) one.classList.toggle("lit", one.dataset.item === item);
  };
  for (const kind of ["pointerover", "pointerout", "focusin", "focusout"]) box.addEventListener(kind, light);
  return { box, boxes, lists, lines };
}

/** Ghosts of the rows to come, or the rows of before, dimmed: either way nothing moves when the answers arrive. */
function awaitPair({ box, boxes, lists }, names, k) {
  box.classList.toggle("alone", names.length === 1);
  names.forEach((name, side) => {
    boxes[side].setAttribute("aria-label", name);
    lists[side].setAttribute("aria-busy", "true");
    if (lists[side].querySelector("[data-item]")) return;
    lists[side].replaceChildren(...each(ghosts(Math.min(k, MOST_GHOSTS)), (ghost) => ghost));
  });
}

function drawPair({ box, lists, lines }, found, part) {
  const places = found.map(({ answer }) => new Map(answer?.items.map((item, place) => [item.item_id, place])));
  found.forEach(({ answer, refusal }, side) => {
    const other = found[1 - side];
    const told = ({ item_id: id }, place) => mark(places[1 - side].get(id), place, other.name);
    const draw = (item, place) => row(item, place, other?.answer ? told(item, place) : el("span"));
    const rows = each(answer?.items ?? [], draw);
    lists[side].replaceChildren(...(rows.length ? rows : [el("li", {}, notice(part, refusal))]));
    lists[side].removeAttribute("aria-busy");
  });
  drawLines(box, lines, places);
}

function row(item, place, told) {
  const value = el("span", { class: "score", title: "Comparable within this list only" }, score(item.score));
  const title = el("span", { class: "title" }, titleOf(item));
  const made = itemButton(item, "item", el("span", { class: "place" }, String(place + 1)), title, told, value);
  made.title = titleOf(item); // the row may cut it
  return made;
}

/** How the place of an item differs from that in the other list. */
function mark(there, here, other) {
  if (there === undefined) return el("span", { class: "mark only" }, "only here");
  const shift = there - here;
  const [kind, sign] = shift === 0 ? ["", "="] : shift > 0 ? ["up", `▲ ${shift}`] : ["down", `▼ ${-shift}`];
  const words = shift === 0 ? "as in" : `${Math.abs(shift)} ${shift > 0 ? "higher" : "lower"} than in`;
  const glyph = el("span", { "aria-hidden": "true" }, sign);
  return el("span", { class: `mark ${kind}` }, glyph, el("span", { class: "sr" }, `${words} ${other}`));
}

/** A line from each item to itself in the other list. All rows are of one height, so nothing is measured. */
function drawLines(box, lines, [left, right = new Map()]) {
  const rows = Math.max(left.size, right.size, 1);
  box.style.setProperty("--rows", rows);
  lines.setAttribute("viewBox", `0 0 100 ${rows}`);
  const shared = [...left].filter(([item]) => right.has(item));
  lines.replaceChildren(...shared.map(([item, from]) => {
    const to = right.get(item), [start, end] = [from + 0.5, to + 0.5];
    const kind = to < from ? "up" : to > from ? "down" : "";
    return svg("path", { d: `M4 ${start} C50 ${start} 50 ${end} 96 ${end}`, class: kind, "data-item": item });
  }));
}
