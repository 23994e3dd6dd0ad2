// Recommendations

const heads = ["First bundle", "Second bundle"].map((label, side) => {
  const select = el("select", { "aria-label": label, change: () => choose(side, select.value) });
  return { select, meta: el("p", { class: "meta soft" }) };
});
const results = makePair(...heads.map(({ select, meta }) => [el("span", { class: "choose" }, select), meta]));
document.querySelector(".results").append(results.box);
results.box.hidden = true;

/** A bundle beside itself shows nothing, so choosing the other one swaps them. */
function choose(side, name) {
  const chosen = [...state().names];
  if (chosen[1 - side] === name) chosen.reverse();
  else chosen[side] = name;
  tune({ left: chosen[0], right: chosen[1] });
}

/** The request that the state stands for; undefined where it names nobody yet. */
function request(s) {
  const categories = s.category ? [s.category] : [];
  const filters = { k: s.k, diversity: s.diversity, popularity_penalty: s.penalty, categories };
  const personal = { ...filters, exclude_seen: s.unseen };
  if (s.view === "") return s.user ? { path: "/v1/recommend", body: { user_id: s.user, ...personal } } : undefined;
  if (s.by === "text") return text ? { path: "/v1/profile", body: { text, ...filters } } : undefined;
  return s.likes.length ? { path: "/v1/fold-in", body: { item_ids: s.likes, ...personal } } : undefined;
}

function loadResults(s) {
  const wanted = request(s);
  results.box.hidden = $("knobs").hidden = !wanted;
  $("intro").hidden = Boolean(wanted);
  if (!wanted) {
    drop("results");
    for (const list of results.lists) list.replaceChildren();
    return loadIntro(s);
  }
  return refresh("results", [wanted, s.names], async (signal) => {
    awaitPair(results, s.names, s.k);
    const found = await recommend(wanted, s.names, signal);
    drawPair(results, found, "results");
    found.forEach(({ answer }, side) => heads[side].meta.replaceChildren(...(answer ? metaOf(answer) : [])));
    const told = ({ name, answer, refusal }) => `${name}: ${refusal?.message ?? `${answer.items.length} items`}`;
    $("status").textContent = `Recommendations by ${found.map(told).join(", ")}`;
  });
}

/** A bundle without a text encoder is not sent a text. */
async function recommend({ path, body }, names, signal) {
  const refusal = new Refusal("This bundle has no text encoder, so it cannot read a text.", 409);
  const able = names.filter((name) => path !== "/v1/profile" || bundleOf(name).reads_text);
  const found = await askBundles(able, path, { body, signal });
  return names.map((name) => found.find((one) => one.name === name) ?? { name, refusal });
}

function metaOf({ source, bundle_version: version }) {
  return [
    el("span", { class: "source", "data-source": source }, source.replace("_", " ")),
    el("span", { class: "how" }, SOURCES[source] ?? ""),
    el("span", { class: "version", title: "Version of the bundle" }, version),
  ];
}

const INTROS = {
  user: ["Two recommenders, one person", "Choose a user to see their history, what the language model wrote about them, "
    + "and what two bundles recommend to them, side by side."],
  items: ["Somebody new", "Add a few items that they like. Their vector is computed from these; nothing is trained."],
  text: ["Somebody new", "Describe them. A bundle with a text encoder recommends from the description."],
};

function loadIntro({ view, by, left }) {
  const [head, words] = INTROS[view === "" ? "user" : by || "items"];
  return refresh("intro", [view, by, left], async (signal) => {
    const samples = el("ul", { class: "chips", "aria-label": "Some users" });
    $("intro").replaceChildren(el("h2", {}, head), el("p", {}, words), samples);
    if (view === "new") return;
    const found = await askBundles([left], "/v1/users", { query: { prefix: "", limit: 8 }, signal });
    samples.replaceChildren(...each(answersOf(found)[0]?.users ?? [], (user) => button(user, () => go({ user }))));
  });
}
