// Controls

/** A text field with suggestions, as the ARIA practices describe a combobox. */
function combobox(input, { search, choose }) {
  const list = $(input.getAttribute("aria-controls"));
  let options = [], active = -1, pause, abort = new AbortController();
  const show = (found) => {
    [options, active, list.hidden] = [found, -1, !found.length];
    const draw = ({ label }, place) => el("li", { id: `${list.id}-${place}`, role: "option" }, label);
    list.replaceChildren(...options.map(draw));
    input.setAttribute("aria-expanded", String(found.length > 0));
    input.removeAttribute("aria-activedescendant");
  };
  const stop = () => {
    clearTimeout(pause);
    abort.abort();
  };
  const close = () => {
    stop();
    show([]);
  };
  const open = async () => {
    stop();
    const mine = abort = new AbortController();
    // A refusal leaves no suggestions; the results show the reason.
    const found = await search(input.value.trim(), mine.signal).catch(() => []);
    if (!mine.signal.aborted) show(found);
  };
  const activate = (place) => {
    active = (place + options.length) % options.length;
    [...list.children].forEach((one, other) => one.setAttribute("aria-selected", String(other === active)));
    list.children[active].scrollIntoView({ block: "nearest" });
    input.setAttribute("aria-activedescendant", list.children[active].id);
  };
  const take = (option) => {
    const [typed, first] = [input.value.trim(), options[0]];
    close();
    choose(option, typed, first);
  };
  const keys = {
    ArrowDown: () => list.hidden ? open() : activate(active + 1),
    ArrowUp: () => list.hidden ? open() : activate(Math.max(active, 0) - 1),
    Enter: () => take(options[active]),
    Escape: close,
  };
  input.addEventListener("input", () => { clearTimeout(pause); pause = setTimeout(open, PAUSE_MS); });
  input.addEventListener("keydown", (event) => {
    if (event.isComposing || !Object.hasOwn(keys, event.key)) return;
    event.preventDefault();
    keys[event.key]();
  });
  let isNew = false; // whether a click is the one that came into the field: then what is typed replaces what is there
  input.addEventListener("pointerdown", () => { isNew = input !== document.activeElement; });
  input.addEventListener("click", () => { if (isNew) input.select(); });
  input.addEventListener("blur", close);
  list.addEventListener("pointerdown", (event) => event.preventDefault()); // the field keeps the focus
  list.addEventListener("click", (event) => {
    const place = [...list.children].indexOf(event.target.closest("li"));
    if (place >= 0) take(options[place]);
  });
}

combobox($("user"), {
  search: async (prefix, signal) => {
    const { users } = await ask("/v1/users", { query: { prefix, limit: 20, bundle: state().left }, signal });
    return users.map((user) => ({ label: user }));
  },
  choose: (option, typed) => {
    const user = option?.label ?? typed;
    $("user").value = user;
    if (user) go({ user, item: "" });
  },
});

combobox($("item"), {
  search: async (query, signal) => {
    const { items } = await ask("/v1/items", { query: { query, limit: 20, bundle: state().left }, signal });
    return items.map((item) => ({ label: titleOf(item), item }));
  },
  choose: (option, typed, first) => {
    const chosen = option ?? (typed && first);
    if (!chosen) return;
    $("item").value = "";
    like(chosen.item);
  },
});

combobox($("category"), {
  search: async (query, signal) => {
    const { categories } = await ask("/v1/categories", { query: { query, limit: 20, bundle: state().left }, signal });
    return categories.map(({ name }) => ({ label: name }));
  },
  choose: (option, typed) => {
    const category = $("category").value = option?.label ?? typed;
    tune({ category });
  },
});

let pause;
const ranges = ["diversity", "penalty"].map($);
for (const range of ranges) {
  range.addEventListener("input", () => {
    showRanges();
    clearTimeout(pause);
    pause = setTimeout(() => tune(Object.fromEntries(ranges.map(({ id, value }) => [id, Number(value)]))), PAUSE_MS);
  });
}

function showRanges() {
  for (const { id, value } of ranges) {
    document.querySelector(`output[for=${id}]`).textContent = Number(value).toFixed(2);
  }
}

const onChange = (id, changes) => $(id).addEventListener("change", () => tune(changes($(id))));
onChange("k", ({ value }) => Number(value) >= 1 ? { k: Math.round(Number(value)) } : {});
onChange("category", ({ value }) => ({ category: value.trim() }));
onChange("unseen", ({ checked }) => ({ unseen: checked }));
for (const radio of document.getElementsByName("by")) radio.addEventListener("change", () => go({ by: radio.value }));

$("by-text").addEventListener("submit", (event) => {
  event.preventDefault();
  text = $("text").value.trim();
  render();
});
$("text").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) $("by-text").requestSubmit();
});
document.addEventListener("click", (event) => {
  const item = event.target.closest("button[data-item]")?.dataset.item;
  if (item !== undefined) go({ item });
});

const isWide = matchMedia("(min-width: 62rem)");
const openKnobs = () => { $("knobs").open = isWide.matches; };
isWide.addEventListener("change", openKnobs);
openKnobs();

/** Controls show what the address holds; the one in use is ahead of it, unless the reader went back or forward. */
function syncControls(s, hasMoved) {
  for (const id of ["user", "k", "category", "diversity", "penalty"]) {
    if (hasMoved || $(id) !== document.activeElement) $(id).value = s[id];
  }
  showRanges();
  $("unseen").checked = s.unseen;
  $("unseen").parentElement.hidden = s.view === "new" && s.by === "text"; // there is no history
  const changed = Object.keys(KNOBS).filter((name) => s[name] !== KNOBS[name]).length;
  $("changed").textContent = changed ? `· ${changed} changed` : "";
  for (const radio of document.getElementsByName("by")) radio.checked = radio.value === s.by;
  s.names.forEach((name, side) => { heads[side].select.value = name; });
  $("ask-user").hidden = s.view === "new";
  $("ask-new").hidden = s.view !== "new";
  $("by-items").hidden = s.by === "text";
  $("by-text").hidden = s.by !== "text";
  for (const link of document.querySelectorAll("nav a")) {
    link.href = address({ view: link.dataset.view, item: "" });
    link.setAttribute("aria-current", link.dataset.view === s.view ? "page" : "false");
  }
  const { data, users, items } = bundleOf(s.left);
  $("data").textContent = `${data} · ${number(users)} users · ${number(items)} items`;
  document.title = [s.view === "new" ? "New visitor" : s.user, "hnlm_ray"].filter(Boolean).join(" · ");
}

function render(hasMoved = false) {
  const s = state();
  syncControls(s, hasMoved);
  for (const load of [loadPerson, loadVisitor, loadResults, loadSheet]) load(s);
}

async function start() {
  parts.clear();
  try {
    ({ bundles } = await ask("/v1/bundles"));
  } catch (refusal) {
    // Without bundles there is nothing to render; the form for the token explains itself.
    const told = el("p", { class: "note" }, refusal.message, button("Try again", start, { class: "link" }));
    return $("intro").replaceChildren(...(refusal.status === 401 ? [] : [told]));
  }
  for (const { select } of heads) {
    const label = ({ name, shadow }) => shadow ? `${name} (shadow)` : name;
    select.replaceChildren(...bundles.map((bundle) => el("option", { value: bundle.name }, label(bundle))));
  }
  render(true);
}

addEventListener("popstate", () => { if (bundles.length) render(true); });
start();
