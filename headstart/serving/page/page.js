"use strict";

// One request per image, a few at a time: results appear when they are ready, and an unreadable
// image does not affect the others. Names and classes are untrusted: they are only set as text.

const AT_ONCE = 4;
const TRIES = 8;
const MOST_CARDS = 200;

const byId = (id) => document.getElementById(id);
const input = byId("files");
const results = byId("results");
const waiting = [];
let running = 0;
let limits = { max_image_bytes: Infinity };

const percent = (value) => `${(100 * value).toFixed(1)} %`;
const count = (number, one, many) => `${number.toLocaleString("en")} ${number === 1 ? one : many}`;

async function about() {
  const model = await (await fetch("/model")).json();
  limits = model;
  const shown = model.classes.slice(0, 12).join(", ");
  const more = model.classes.length > 12 ? ", …" : "";
  byId("about").textContent = `This model knows ${count(model.classes.length, "class", "classes")}: ${shown}${more}`;
  const megabytes = Math.floor(model.max_image_bytes / 1e6);
  byId("details").textContent =
    `Backbone: ${model.backbone}, ${model.image_size} pixels. Accepts ${model.formats.join(", ")} of ` +
    `up to ${megabytes} MB and ${Math.floor(model.max_pixels / 1e6)} megapixels.`;
}

function add(files) {
  for (const file of files) {
    const card = byId("card").content.firstElementChild.cloneNode(true);
    const image = card.querySelector("img");
    const url = URL.createObjectURL(file);
    image.addEventListener("load", () => URL.revokeObjectURL(url), { once: true });
    image.addEventListener("error", () => {
      URL.revokeObjectURL(url);
      image.hidden = true; // The browser has no decoder for it; the service may.
    }, { once: true });
    image.src = url;
    card.querySelector(".name").textContent = file.name;
    card.querySelector(".name").title = file.name;
    results.prepend(card);
    waiting.push({ file, card });
  }
  while (results.children.length > MOST_CARDS) results.lastElementChild.remove();
  tally();
  next();
}

function tally() {
  const number = results.children.length;
  byId("bar").hidden = number === 0;
  byId("count").textContent = count(number, "image", "images");
}

function next() {
  while (running < AT_ONCE && waiting.length > 0) {
    const { file, card } = waiting.shift();
    running += 1;
    classify(file)
      .then((result) => succeed(card, file, result), (error) => fail(card, file, error.message))
      .finally(() => {
        running -= 1;
        next();
      });
  }
}

async function classify(file) {
  if (file.size > limits.max_image_bytes) {
    throw new Error(`The file has ${file.size.toLocaleString("en")} bytes, more than are accepted.`);
  }
  for (let attempt = 1; ; attempt += 1) {
    const body = new FormData();
    body.append("file", file);
    let answer;
    try {
      answer = await fetch("/predict?top=5", { method: "POST", body });
    } catch {
      throw new Error("The service does not answer. Is it still running?");
    }
    if (answer.status === 503 && attempt < TRIES) {
      const seconds = Number(answer.headers.get("Retry-After")) || 1;
      await new Promise((resolve) => setTimeout(resolve, 1000 * seconds));
      continue;
    }
    const found = await answer.json();
    if (!answer.ok) throw new Error(found.results?.[0]?.error ?? found.error);
    return found.results[0];
  }
}

function succeed(card, file, result) {
  card.querySelector("h2").textContent = result.label;
  card.querySelector(".wait").remove();
  const bars = card.querySelector(".bars");
  for (const guess of result.top) {
    const line = byId("guess").content.firstElementChild.cloneNode(true);
    line.querySelector(".label").textContent = guess.label;
    line.querySelector(".label").title = guess.label;
    line.querySelector(".percent").textContent = percent(guess.probability);
    bars.append(line);
    const fill = line.querySelector(".fill");
    requestAnimationFrame(() => { fill.style.width = `${100 * guess.probability}%`; });
  }
  byId("status").textContent = `${file.name}: ${result.label}, ${percent(result.probability)}`;
}

function fail(card, file, message) {
  card.classList.add("failed");
  card.querySelector("h2").textContent = "Not read";
  const sentence = message.charAt(0).toUpperCase() + message.slice(1);
  card.querySelector(".wait").textContent = sentence;
  byId("status").textContent = `${file.name}: not read. ${sentence}`;
}

input.addEventListener("change", () => {
  add(input.files);
  input.value = ""; // So that the same image can be chosen again.
});

let depth = 0; // Entering a child comes before leaving its parent.
addEventListener("dragenter", (event) => {
  event.preventDefault();
  depth += 1;
  document.body.classList.add("over");
});
addEventListener("dragleave", () => {
  depth = Math.max(0, depth - 1);
  document.body.classList.toggle("over", depth > 0);
});
addEventListener("dragover", (event) => event.preventDefault());
addEventListener("drop", (event) => {
  event.preventDefault();
  depth = 0;
  document.body.classList.remove("over");
  add(event.dataTransfer.files);
});
addEventListener("paste", (event) => {
  if (event.clipboardData.files.length > 0) {
    event.preventDefault();
    add(event.clipboardData.files);
  }
});
byId("clear").addEventListener("click", () => {
  waiting.length = 0;
  results.replaceChildren();
  tally();
  input.focus();
});

about().catch(() => { byId("about").textContent = "The service does not answer."; });
