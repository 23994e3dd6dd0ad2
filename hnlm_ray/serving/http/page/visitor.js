// A new visitor

function loadVisitor({ view, by, likes, left }) {
  if (view !== "new" || by === "text") return drop("visitor");
  const dislike = (item) => go({ likes: likes.filter((one) => one !== item) });
  const name = (item) => titles.get(item) ?? item;
  const draw = () => $("likes").replaceChildren(
    ...each(likes, (item) => button(name(item), () => dislike(item), { "aria-label": `Remove ${name(item)}` })));
  draw();
  return refresh("visitor", [likes, left], async (signal) => {
    const unnamed = likes.filter((item) => !titles.has(item)).map(async (item) => {
      answersOf(await askBundles([left], `/v1/items/${encodeURIComponent(item)}`, { signal })).forEach(titleOf);
    });
    const popular = askBundles([left], "/v1/items", { query: { query: "", limit: 8 + likes.length }, signal });
    await Promise.all(unnamed);
    draw();
    const others = answersOf(await popular).flatMap(({ items }) => items.filter((item) => !likes.includes(item.item_id)));
    const add = (item) => button(titleOf(item), () => like(item), { "aria-label": `Add ${titleOf(item)}` });
    $("popular").replaceChildren(...each(others.slice(0, 8), add));
  });
}

function like(item) {
  const { likes } = state();
  go({ likes: [...likes.filter((one) => one !== item.item_id), item.item_id], item: "" });
}
