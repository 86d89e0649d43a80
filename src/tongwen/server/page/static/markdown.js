// Markdown as elements, and an answer that grows: what is finished is left alone.

import { readBlocks } from "./blocks.js";
import { copyText, el, icon } from "./dom.js";
import { inline } from "./inline.js";
import { say } from "./words.js";

const MAKE = {
  heading: (block) => el(`h${Math.min(block.level + 2, 6)}`, {}, inline(block.text)),
  paragraph: (block) => el("p", {}, inline(block.text)),
  rule: () => el("hr"),
  quote: (block) => el("blockquote", {}, ...block.blocks.map(element)),
  math: (block) => el("p", { class: "math" }, block.text),
  code: (block) => codeBox(block),
  list: (block) => list(block),
  table: (block) => table(block),
};

// The element of a block.
export function element(block) {
  return MAKE[block.kind](block);
}

// An answer's text within an element.  Blocks that are complete are made once; only the last is
// made anew as text comes, and of code only the new characters are added.
export class Growing {
  #root;
  #text = "";
  #start = 0; // of the last block
  #last = null;
  #block = null;

  constructor(root) {
    this.#root = root;
  }

  // Show a text that goes on from the one before.
  show(text) {
    this.#text = text;
    const blocks = readBlocks(this.#text.slice(this.#start));
    if (blocks.length === 0) return;
    this.#replaceLast(blocks[0]);
    for (const block of blocks.slice(1)) {
      this.#last = element(block);
      this.#root.append(this.#last);
    }
    this.#block = blocks.at(-1);
    this.#start += this.#block.start;
  }

  #replaceLast(block) {
    if (this.#block?.kind === "code" && block.kind === "code" && this.#addCode(block)) return;
    const made = element(block);
    if (this.#last) this.#last.replaceWith(made);
    else this.#root.append(made);
    this.#last = made;
  }

  #addCode({ text, language }) {
    const before = this.#block.text;
    if (this.#block.language !== language || !text.startsWith(before)) return false;
    const code = this.#last.querySelector("code");
    code.append(text.slice(before.length));
    return true;
  }
}

function codeBox({ language, text }) {
  const code = el("code", {}, text);
  const name = language || say("code");
  const words = el("span", {}, say("copy"));
  const button = el(
    "button",
    { type: "button", class: "copy", "aria-label": say("copyCode"), click: () => copy(code, words) },
    icon("copy"),
    words,
  );
  return el(
    "figure",
    { class: "code" },
    el("figcaption", {}, el("span", {}, name), button),
    el("pre", { tabindex: "0", role: "region", "aria-label": name }, code),
  );
}

async function copy(code, words) {
  try {
    await copyText(code.textContent);
    words.textContent = say("copied");
  } catch {
    words.textContent = say("notCopied");
  }
  setTimeout(() => (words.textContent = say("copy")), 1_600);
}

function list({ isOrdered, begin, items }) {
  const start = isOrdered && begin !== 1 ? { start: begin } : {};
  return el(isOrdered ? "ol" : "ul", start, ...items.map(item));
}

// An item; a lone paragraph needs no element of its own, and `[x]` is a box.
function item(blocks) {
  const [first, ...rest] = blocks;
  if (first?.kind !== "paragraph") return el("li", {}, ...blocks.map(element));
  const box = /^\[([ xX])\]\s+/.exec(first.text);
  const text = inline(box ? first.text.slice(box[0].length) : first.text);
  const isLoose = rest.some((block) => block.kind === "paragraph");
  const words = isLoose ? el("p", {}, text) : text;
  const mark = box ? (box[1] === " " ? "☐ " : "☑ ") : "";
  return el("li", box ? { class: "task" } : {}, mark, words, ...rest.map(element));
}

function table({ head, sides, rows }) {
  const row = (tag, texts) =>
    el("tr", {}, ...texts.map((text, i) => el(tag, { class: `to-${sides[i]}` }, inline(text))));
  return el(
    "div",
    { class: "table", tabindex: "0" },
    el(
      "table",
      {},
      el("thead", {}, row("th", head)),
      el("tbody", {}, ...rows.map((texts) => row("td", texts))),
    ),
  );
}
