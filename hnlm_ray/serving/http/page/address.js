// The address

let bundles = [];
let text = ""; // of a visitor; not in the address, which ends up in histories and messages

const bundleOf = (name) => bundles.find((bundle) => bundle.name === name);
const otherThan = (name) => bundles.find((bundle) => bundle.name !== name)?.name;

function state() {
  const given = new URLSearchParams(location.hash.slice(1));
  const text = (name) => given.get(name) ?? "";
  const within = (name, high) => {
    const value = Number(given.get(name) || NaN);
    return value >= 0 && value <= high ? value : KNOBS[name];
  };
  const left = (bundleOf(given.get("left")) ?? bundles[0]).name;
  const right = bundleOf(given.get("right"))?.name ?? otherThan(left);
  return {
    view: text("view") === "new" ? "new" : "", by: text("by") === "text" ? "text" : "", user: text("user"),
    item: text("item"), likes: given.getAll("like"), left, right, names: right === undefined ? [left] : [left, right],
    k: Math.max(1, Math.round(within("k", 1000))), diversity: within("diversity", 1), penalty: within("penalty", 100),
    category: text("category"), unseen: text("unseen") !== "false",
  };
}

/** The address of the present state with some changes; what is as usual is left out. */
function address(changes) {
  const wanted = { ...state(), ...changes };
  const [left, right] = [bundles[0].name, otherThan(wanted.left)];
  const usual = { view: "", by: "", user: "", item: "", left, right, ...KNOBS };
  const query = new URLSearchParams();
  for (const name of Object.keys(usual)) if (wanted[name] !== usual[name]) query.set(name, wanted[name]);
  for (const item of wanted.likes) query.append("like", item);
  return `#${query}`;
}

/** Change the address. `depth` counts the items opened one out of another, so that closing goes back past them all. */
function go(changes, { replace = false } = {}) {
  const to = address(changes);
  if (to !== (location.hash || "#")) {
    const before = history.state?.depth ?? 0;
    const depth = changes.item ? before + 1 : "item" in changes ? 0 : before;
    history[replace ? "replaceState" : "pushState"]({ depth }, "", to);
  }
  render();
}

const tune = (changes) => go(changes, { replace: true }); // a knob is no place to go back to
