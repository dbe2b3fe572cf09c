"use strict";

// Names of classes and files are untrusted: they are only set as text.

const DONE = { keep: "Kept", relabel: "Relabeled", remove: "Removed", same_object: "Same object" };
const ACTIONS = { k: "keep", x: "remove", s: "same_object" };

const byId = (id) => document.getElementById(id);
const made = (tag, text, name) => {
  const node = document.createElement(tag);
  node.textContent = text;
  if (name) node.className = name;
  return node;
};

let classes = [];
let queues = [];
let queue = null;
let chosen = 0; // the image of a pair that is relabeled or removed
let allowed = ""; // a new class that was asked about
let busy = false;

const item = () => queue?.items[queue.at];

async function ask(path, body) {
  let answer;
  try {
    answer = await fetch(path, body && {
      method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body),
    });
  } catch {
    throw new Error("The review does not answer. Is it still running?");
  }
  const found = await answer.json();
  if (!answer.ok) throw new Error(found.error);
  return found;
}

function say(text, failed = false) {
  byId("status").textContent = text;
  byId("status").classList.toggle("failed", failed);
}

function showQueues() {
  byId("queues").replaceChildren(...queues.map((each) => {
    const left = each.open - each.items.filter((one) => one.decision).length;
    const button = made("button", `${each.title} (${left.toLocaleString("en")})`);
    button.type = "button";
    if (each === queue) button.setAttribute("aria-current", "true");
    button.addEventListener("click", () => { queue = each; chosen = 0; show(); });
    return button;
  }));
}

function figure(image, place) {
  const node = document.createElement("figure");
  const picture = document.createElement("img");
  picture.src = `/images/${image.id}`;
  picture.alt = `Image ${place + 1}, ${image.label}`;
  picture.addEventListener("load", () => picture.classList.toggle("small", picture.naturalWidth <= 64));
  const caption = document.createElement("figcaption");
  const label = made("strong", image.corrected || image.label);
  caption.append(label);
  if (image.corrected) caption.append(made("s", image.label));
  if (image.corrected === "") label.classList.add("removed");
  caption.append(made("span", [image.split, image.path].filter(Boolean).join(" · ")));
  node.append(picture, caption);
  if (item().images.length > 1) {
    const button = made("button", place === chosen ? "Chosen " : "Choose ");
    button.type = "button";
    button.setAttribute("aria-pressed", String(place === chosen));
    button.append(made("kbd", String(place + 1)));
    button.addEventListener("click", () => choose(place));
    node.append(button);
    node.classList.toggle("chosen", place === chosen);
  }
  return node;
}

function rejected(file) {
  const node = document.createElement("figure");
  const picture = document.createElement("img");
  picture.alt = "";
  picture.src = `/rejected?path=${encodeURIComponent(file)}`;
  picture.addEventListener("error", () => picture.remove());
  const caption = document.createElement("figcaption");
  caption.append(made("strong", file));
  node.append(picture, caption);
  return node;
}

function show() {
  showQueues();
  const now = item();
  byId("warning").textContent = queue?.warning ?? "";
  byId("warning").hidden = !queue?.warning;
  const pair = now?.images.length === 2;
  for (const button of byId("actions").children) {
    const key = button.dataset.key;
    button.disabled = !now || ("krxs".includes(key) && now.images.length === 0) || (key === "s" && !pair);
  }
  if (!now) {
    byId("images").replaceChildren();
    byId("about").textContent = byId("decision").textContent = "";
    byId("where").textContent = queue ? "Nothing is open here." : "This run found nothing to review.";
    byId("actions").querySelector("[data-key=u]").disabled = !queue;
    return;
  }
  const more = queue.open > queue.items.length ? `; ${queue.open.toLocaleString("en")} are open, more appear after a reload` : "";
  byId("where").textContent = `${queue.at + 1} of ${queue.items.length}${more}`;
  byId("images").replaceChildren(...(now.file ? [rejected(now.file)] : now.images.map(figure)));
  byId("about").textContent = now.about;
  byId("decision").textContent = now.decision ? DONE[now.decision] ?? now.decision : "";
}

function move(step) {
  if (!item()) return;
  queue.at = Math.min(Math.max(queue.at + step, 0), queue.items.length - 1);
  chosen = 0;
  show();
}

function choose(place) {
  if (place >= (item()?.images.length ?? 0)) return;
  chosen = place;
  show();
}

function place(found) {
  classes = found.classes;
  for (const each of queues) {
    const at = each.items.findIndex((one) => one.place === found.item.place);
    if (at >= 0) {
      each.items[at] = found.item;
      return [each, at];
    }
  }
  return [queue, queue.at];
}

async function attempt(work) {
  if (busy) return;
  busy = true;
  try {
    await work();
  } catch (error) {
    say(error.message, true);
  } finally {
    busy = false;
  }
}

const decide = (action, value = "", fresh = false) => attempt(async () => {
  const now = item();
  if (!now || now.images.length === 0 || (action === "same_object" && now.images.length < 2)) return;
  const image = now.images[chosen].id;
  place(await ask("/decide", { place: now.place, action, value, image, new: fresh }));
  say(`${DONE[action]}${value ? `: ${value}` : ""}. ${now.images[chosen].path}`);
  move(1);
});

const undo = () => attempt(async () => {
  [queue, queue.at] = place(await ask("/undo", {}));
  chosen = 0;
  show();
  say("Undone.");
});

function openRelabel() {
  const now = item();
  if (!now || now.images.length === 0) return;
  byId("classes").replaceChildren(...classes.map((name) => {
    const option = document.createElement("option");
    option.value = name;
    return option;
  }));
  const other = now.images.length === 2 ? now.images[1 - chosen] : null;
  byId("class").value = now.suggested || other?.corrected || other?.label || "";
  byId("doubt").textContent = allowed = "";
  byId("relabel").showModal();
  byId("class").select();
}

byId("relabel").querySelector("form").addEventListener("submit", (event) => {
  const name = byId("class").value.trim();
  const known = classes.includes(name);
  if (!name || (!known && allowed !== name)) {
    event.preventDefault();
    allowed = name;
    byId("doubt").textContent = name ? `There is no class “${name}”. Press again to make it a new class.` : "Choose a class.";
    return;
  }
  decide("relabel", name, !known);
});
byId("cancel").addEventListener("click", () => byId("relabel").close());

function press(key) {
  if (key === "ArrowLeft") move(-1);
  else if (key === "ArrowRight") move(1);
  else if (key === "u") undo();
  else if (key === "r") openRelabel();
  else if (key === "1" || key === "2") choose(Number(key) - 1);
  else if (key in ACTIONS) decide(ACTIONS[key]);
  else return false;
  return true;
}

addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.repeat || byId("relabel").open) return;
  if (press(event.key)) event.preventDefault();
});
for (const button of byId("actions").children) {
  button.addEventListener("click", () => press(button.dataset.key));
}

ask("/findings").then((found) => {
  ({ classes, queues } = found);
  for (const each of queues) each.at = 0;
  queue = queues.find((each) => each.items.length > 0) ?? queues[0] ?? null;
  show();
}).catch((error) => say(error.message, true));
