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

// An answer's text within an element.  What is complete is made once; as text comes, only the last
// block is made anew (the last two while a line has just begun, which may yet belong to the block
// before), and of code only the new characters are added.
export class Growing {
  #root;
  #start = 0; // of the blocks that may change
  #live = []; // those: { kind, language, text, source, node }

  constructor(root) {
    this.#root = root;
  }

  // Show a text that goes on from the one before.
  show(text) {
    const rest = text.slice(this.#start);
    const blocks = readBlocks(rest);
    if (blocks.length === 0) return;
    const live = blocks.map((block, index) => {
      const source = rest.slice(block.start, blocks[index + 1]?.start);
      return { ...block, source, node: this.#node(block, source, this.#live[index]) };
    });
    for (const { node } of this.#live.slice(live.length)) node.remove();
    const isLine = live.at(-1).source.includes("\n");
    const settled = Math.max(live.length - (isLine ? 1 : 2), 0);
    this.#start += live[settled].start;
    this.#live = live.slice(settled);
  }

  // The element of a block, in the place of what stood there before.
  #node(block, source, before) {
    if (before && before.kind === block.kind) {
      if (before.source === source || addCode(before, block)) return before.node;
    }
    const node = element(block);
    if (before) before.node.replaceWith(node);
    else this.#root.append(node);
    return node;
  }
}

// Whether a code block only became longer, and was given what is new.
function addCode(before, { kind, language, text }) {
  if (kind !== "code" || before.language !== language || !text.startsWith(before.text)) return false;
  before.node.querySelector("code").append(text.slice(before.text.length));
  return true;
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
