// The sheet of one item

const sheet = $("sheet");

function loadSheet(s) {
  if (!s.item) {
    sheet.close();
    return drop("sheet");
  }
  return refresh("sheet", [s.item, s.view, s.user, s.names], async (signal) => {
    const title = el("h2", { id: "sheet-title", tabindex: "-1" }, titles.get(s.item) ?? s.item);
    const facts = el("section", { class: "facts" }, title, ...ghosts(3));
    const why = el("section"), negatives = el("section", { hidden: "" }), similar = el("section", { class: "frame" });
    const close = button("×", () => sheet.close(), { class: "close", "aria-label": "Close" });
    sheet.replaceChildren(close, facts, why, similar, negatives);
    if (!sheet.open) sheet.showModal();
    sheet.scrollTop = 0;
    title.focus();
    await Promise.all([
      loadFacts(facts, title, s, signal), loadWhy(why, negatives, s, signal), loadSimilar(similar, s, signal),
    ]);
  });
}

sheet.addEventListener("click", (event) => { if (event.target === sheet) sheet.close(); });
sheet.addEventListener("close", () => {
  if (!state().item) return; // it was the address that closed it
  const depth = history.state?.depth ?? 0;
  if (depth) history.go(-depth);
  else tune({ item: "" });
});

async function loadFacts(box, title, s, signal) {
  const found = await askBundles(s.names, `/v1/items/${encodeURIComponent(s.item)}`, { signal });
  const [known, ...others] = answersOf(found);
  if (!known) return box.replaceChildren(title, notice("sheet", found[0].refusal));
  title.textContent = titleOf(known);
  const { brand, categories, description, interactions, available } = known;
  const counted = [brand, `${number(interactions)} interactions`, available ? "" : "not available at present"];
  const only = (category) => button(category, () => go({ category, item: "" }), { title: "Only items of this category" });
  box.replaceChildren(title, soft(counted.filter(Boolean).join(" · ")));
  if (categories.length) box.append(el("ul", { class: "chips", "aria-label": "Categories" }, ...each(categories, only)));
  const whole = el("p", {}, description);
  if (description.length > LONG_TEXT) box.append(el("details", {}, el("summary", {}, "Description"), whole));
  else if (description) box.append(whole);
  box.append(profileOf("item", [known, ...others]));
  if (s.view === "new" && s.by === "" && !s.likes.includes(s.item)) {
    box.append(button("Add to the items they like", () => like(known), { class: "primary" }));
  }
}

async function loadWhy(box, negatives, s, signal) {
  box.hidden = s.view === "new" || !s.user;
  if (box.hidden) return;
  const columns = el("div", { class: "columns" }, ...ghosts(s.names.length));
  const what = "The nearest items of their history, by cosine.";
  box.append(el("h3", {}, `How it fits ${s.user}`), soft(what), columns);
  const found = await askBundles(s.names, "/v1/explain", { body: { user_id: s.user, item_id: s.item }, signal });
  columns.replaceChildren(...(answersOf(found).length
    ? found.map((one) => el("div", {}, el("h4", {}, one.name), ...because(one)))
    : [notice("sheet", found[0].refusal)]));
  drawNegatives(negatives, found, s.user);
}

function because({ answer, refusal }) {
  if (!answer) return [notice("sheet", refusal)];
  const { rank, score: value, because: near } = answer;
  const bar = ({ similarity }) => meter(similarity, similarity.toFixed(2));
  const draw = (item) => itemButton(item, "", el("span", {}, titleOf(item)), bar(item));
  return [
    soft(rank === null ? "In their history" : `rank ${number(rank)} · score ${score(value)}`),
    near.length ? el("ul", { class: "because" }, ...each(near, draw)) : soft("There is nothing else in their history."),
  ];
}

function meter(share, label, kind = "") {
  const bar = el("i");
  bar.style.setProperty("--share", Math.max(0, Math.min(1, share)));
  return el("span", { class: `meter ${kind}` }, bar, el("span", {}, label));
}

/** Bundles of one run carry the same negatives, so each is shown once, with its rank in every bundle. */
function drawNegatives(box, found, user) {
  const stories = new Map();
  for (const { name, answer } of found) {
    for (const story of answer?.negatives ?? []) {
      const key = JSON.stringify([story.beside.item_id, story.answer]);
      if (!stories.has(key)) stories.set(key, { ...story, ranks: [] });
      stories.get(key).ranks.push([name, story.rank]);
    }
  }
  box.hidden = !stories.size;
  const what = `Plausible for ${user}, but not to their taste, in the words of the language model. `
    + "The dots show where they rank now, the best on the left.";
  const list = el("ul", { class: "negatives" }, ...each([...stories.values()], negative));
  box.replaceChildren(el("h3", {}, "Hard negatives"), soft(what), list);
}

function negative({ beside, answer, reasoning, item, ranks }) {
  const stand = ([name, rank]) => {
    const { items } = bundleOf(name);
    const gauge = () => meter((rank - 1) / items, `${number(rank)} of ${number(items)}`, "spot");
    return el("li", {}, name, rank === null ? "in their history" : gauge());
  };
  return el("article", {},
    el("p", {}, el("q", {}, answer || "no answer"), el("span", { class: "soft" }, " beside ", itemButton(beside, "link"))),
    reasoning ? el("p", { class: "reason" }, reasoning) : undefined,
    item ? soft("Matched to ", itemButton(item, "link")) : soft("Matched to nothing in the catalogue"),
    item ? el("ul", { class: "ranks", "aria-label": "Rank now" }, ...ranks.map(stand)) : undefined);
}

async function loadSimilar(box, s, signal) {
  const pair = makePair(...[s.left, s.right ?? ""].map((name) => [el("h4", {}, name)]));
  awaitPair(pair, s.names, SIMILAR_K);
  box.append(el("h3", {}, "Similar items"), pair.box);
  const found = await askBundles(s.names, "/v1/similar-items", { body: { item_id: s.item, k: SIMILAR_K }, signal });
  drawPair(pair, found, "sheet");
}
