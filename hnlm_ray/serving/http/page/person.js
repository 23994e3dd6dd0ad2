// The person

function loadPerson(s) {
  const isShown = s.view === "" && s.user !== "";
  $("person").hidden = !isShown;
  if (!isShown) {
    $("history").hidden = true;
    return drop("person");
  }
  return refresh("person", [s.user, s.names], async (signal) => {
    $("person").replaceChildren(el("h2", {}, s.user), ...ghosts(3));
    $("history").setAttribute("aria-busy", "true");
    drawPerson(s.user, await askBundles(s.names, `/v1/users/${encodeURIComponent(s.user)}`, { signal }));
  });
}

function drawPerson(user, found) {
  const [known, ...others] = answersOf(found);
  const { refusal } = found[0], isUnknown = refusal?.status === 404;
  const about = known
    ? [soft(`${number(known.interactions)} interactions`), profileOf("user", [known, ...others])]
    : [isUnknown ? soft("Nothing is known about this user: they get what is popular.") : notice("person", refusal)];
  $("person").replaceChildren(el("h2", {}, user), ...about);
  $("history").hidden = !known;
  $("history").removeAttribute("aria-busy");
  if (known) drawHistory(known);
}

/** What the language model wrote; one bundle may carry the texts and another not. */
function profileOf(whom, answers) {
  const words = answers.map(({ profile }) => profile).find(Boolean);
  if (!words) return soft(`The language model wrote no profile of this ${whom}.`);
  const caption = `Profile of the ${whom}, as the language model wrote it`;
  return el("figure", { class: "profile" }, el("blockquote", {}, words), el("figcaption", {}, caption));
}

function drawHistory({ history: items, interactions }) {
  const list = el("ul", { class: "titles" });
  const draw = (item) => itemButton(item, "", el("span", {}, titleOf(item)));
  const show = (count) => list.replaceChildren(...each(items.slice(0, count), draw));
  const more = button(`Show all ${number(items.length)}`, () => {
    show(items.length);
    more.remove();
    list.children[FIRST_SHOWN].firstChild.focus();
  }, { class: "link note" });
  const missing = interactions > items.length ? ` (${number(items.length)} of ${number(interactions)})` : "";
  show(FIRST_SHOWN);
  $("history").replaceChildren(el("h3", { id: "history-title" }, `History${missing}`), list);
  if (items.length > FIRST_SHOWN) $("history").append(more);
}
