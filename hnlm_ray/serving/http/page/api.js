// The API

class Refusal extends Error {
  constructor(sentence, status) { super(sentence); this.status = status; }
  get mayPass() { return this.status === 0 || this.status === 429 || this.status >= 500; }
}

async function ask(path, { query = {}, body, signal } = {}) {
  const token = sessionStorage.getItem("token");
  const headers = { "content-type": "application/json", ...(token && { authorization: `Bearer ${token}` }) };
  const options = { method: body ? "POST" : "GET", headers, body: body && JSON.stringify(body), signal };
  let response, answer;
  try {
    response = await fetch(`${path}?${new URLSearchParams(query)}`, options);
    answer = await response.json();
  } catch {
    signal?.throwIfAborted();
    if (!response) throw new Refusal("The service cannot be reached.", 0);
  }
  if (response.ok && answer) return answer;
  // A proxy in between refuses in plain text, which says nothing to the reader.
  const sentence = answer?.error ?? `The service answered with status ${response.status}.`;
  if (response.status === 401) showGate(sentence);
  throw new Refusal(sentence, response.status);
}

/** The answers of several bundles; a refusal of one does not hide the answer of another. */
async function askBundles(names, path, { query, body, signal }) {
  const found = await Promise.all(names.map(async (name) => {
    try {
      return { name, answer: await ask(path, { query: { ...query, bundle: name }, body, signal }) };
    } catch (refusal) {
      if (refusal instanceof Refusal) return { name, refusal };
      throw refusal;
    }
  }));
  signal.throwIfAborted();
  return found;
}

const answersOf = (found) => found.flatMap(({ answer }) => answer ?? []);

const parts = new Map();

/** Load a part of the page again if its key changed. The load before is aborted: it can never draw over this one. */
async function refresh(part, key, work) {
  const wanted = JSON.stringify(key);
  if (parts.get(part)?.wanted === wanted) return;
  drop(part);
  const abort = new AbortController();
  parts.set(part, { wanted, abort });
  try {
    await work(abort.signal);
  } catch (error) {
    if (!abort.signal.aborted) throw error;
  }
}

function drop(part) {
  parts.get(part)?.abort.abort();
  parts.delete(part);
}

/** Why there is nothing to see, and another try where that may help. */
function notice(part, refusal) {
  const again = () => { drop(part); render(); };
  const retry = refusal?.mayPass ? button("Try again", again, { class: "link" }) : undefined;
  return el("p", { class: "note" }, refusal?.message ?? "No item is left by these options.", retry);
}

function showGate(sentence) {
  $("gate-reason").textContent = sentence;
  $("gate").hidden = false;
  $("token").focus();
}

$("gate").addEventListener("submit", (event) => {
  event.preventDefault();
  sessionStorage.setItem("token", $("token").value);
  $("token").value = "";
  $("gate").hidden = true;
  start();
});
