// Markdown within a line, as nodes.  Text stays text: tags are shown as they were written, images
// become links, and a link leads nowhere but to http and https.

import { el } from "./dom.js";
import { say } from "./words.js";

const DEEPEST = 6;
const LONGEST_LINK = 4_000;
const MOST_TRIES = 64; // for an end that fits: a line of stars must not take for ever
const MARK =
  /\\|`+|\*{1,3}|_{1,3}|~~|!?\[|<br *\/?>|<(?=https?:)|(?<![\w/])https?:\/\/|\$\$?/giu;
const ADDRESS = /https?:\/\/[^\s<>"'`|\\^{}，。；：！？、）」』】]+/iuy;
const PUNCTUATION = /[!-/:-@[-`{-~]/;

// The nodes of a text; links do not hold links.
export function inline(text, depth = 0, isLink = false) {
  return new Inline(text, depth, isLink).read();
}

// The address, where a browser may be sent there; otherwise null.
export function safeAddress(text) {
  try {
    const address = new URL(text);
    return ["http:", "https:"].includes(address.protocol) ? address : null;
  } catch {
    return null;
  }
}

class Inline {
  #nodes = document.createDocumentFragment();
  #missing = new Set(); // ends that do not come any more: looked for once

  constructor(text, depth, isLink) {
    this.text = text;
    this.depth = depth;
    this.isLink = isLink;
  }

  read() {
    let at = 0;
    const marks = new RegExp(MARK);
    for (let found = marks.exec(this.text); found; found = marks.exec(this.text)) {
      const made = this.#node(found[0], found.index);
      if (made === null) continue;
      const [node, end] = made;
      this.#nodes.append(this.text.slice(at, found.index), node);
      at = end;
      marks.lastIndex = end;
    }
    this.#nodes.append(this.text.slice(at));
    this.#breakLines();
    return this.#nodes;
  }

  // What begins at a mark, and where it ends; null: the mark means nothing here.
  #node(mark, at) {
    if (mark === "\\") return this.#escape(at);
    if (mark[0] === "`") return this.#code(mark, at);
    if (mark[0] === "$") return this.#math(mark, at);
    if (/^<br/i.test(mark)) return [el("br"), at + mark.length];
    if ("*_~".includes(mark[0])) return this.#emphasis(mark, at);
    if (this.isLink) return null;
    if (mark.endsWith("[")) return this.#link(mark, at);
    return mark === "<" ? this.#bracketed(at) : this.#address(at);
  }

  #escape(at) {
    const next = this.text[at + 1] ?? "";
    if (next === "(" || next === "[") {
      const end = this.#find(next === "(" ? "\\)" : "\\]", at + 2);
      if (end !== -1) return [math(this.text.slice(at, end + 2)), end + 2];
    }
    if (next === "\n") return [el("br"), at + 2];
    return PUNCTUATION.test(next) ? [document.createTextNode(next), at + 2] : null;
  }

  #code(mark, at) {
    const end = this.#codeEnd(mark, at + mark.length);
    if (end === -1) return [document.createTextNode(mark), at + mark.length];
    const inner = this.text.slice(at + mark.length, end).replaceAll("\n", " ");
    const isPadded = /^ .*\S.* $/.test(inner);
    return [el("code", {}, isPadded ? inner.slice(1, -1) : inner), end + mark.length];
  }

  // Where a run of just as many backticks stands.
  #codeEnd(mark, from) {
    let end = this.#find(mark, from);
    for (let tries = 0; end !== -1 && tries < MOST_TRIES; tries += 1) {
      let after = end;
      while (this.text[after] === "`") after += 1;
      if (after - end === mark.length) return end;
      end = this.#find(mark, after);
    }
    return -1;
  }

  #math(mark, at) {
    const begin = at + mark.length;
    const end = this.#find(mark, begin);
    const inner = end === -1 ? "" : this.text.slice(begin, end);
    const isMath = inner !== "" && !/^\s|\s$/.test(inner) && !/\d/.test(this.text[end + 1] ?? "");
    if (!isMath && mark === "$") return null;
    return inner === "" ? null : [math(this.text.slice(at, end + mark.length)), end + mark.length];
  }

  #emphasis(mark, at) {
    if (this.depth >= DEEPEST) return null;
    const begin = at + mark.length;
    const isWord = (place) => /[\p{L}\p{N}]/u.test(this.text[place] ?? "");
    if (/\s/.test(this.text[begin] ?? " ")) return null;
    if (mark[0] === "_" && isWord(at - 1)) return null;
    const end = this.#closing(mark, begin);
    if (end === -1 || (mark[0] === "_" && isWord(end + mark.length))) return null;
    const inner = inline(this.text.slice(begin, end), this.depth + 1, this.isLink);
    return [emphasised(mark, inner), end + mark.length];
  }

  // Where emphasis ends: a run of just this length, right after a letter.
  #closing(mark, begin) {
    let end = this.#find(mark, begin + 1);
    for (let tries = 0; end !== -1 && tries < MOST_TRIES; tries += 1) {
      let after = end;
      while (this.text[after] === mark[0]) after += 1;
      const fits = after - end === mark.length || (mark.length > 1 && after - end > mark.length);
      if (fits && !/\s/.test(this.text[end - 1])) return after - mark.length;
      end = this.#find(mark, after);
    }
    return -1;
  }

  #link(mark, at) {
    const begin = at + mark.length;
    const middle = this.#find("](", begin);
    if (middle === -1 || middle - at > LONGEST_LINK) return null;
    const found = /^\(\s*<?((?:[^\s()<>]|\([^\s()]*\))*)>?(?:\s+(?:"[^"]*"|'[^']*'))?\s*\)/.exec(
      this.text.slice(middle + 1, middle + LONGEST_LINK),
    );
    const words = this.text.slice(begin, middle);
    if (found === null || (/\[/.test(words) && !/\]/.test(words))) return null;
    const end = middle + 1 + found[0].length;
    if (mark === "![") return [picture(words, found[1]), end];
    return [link(inline(words, this.depth, true), words, found[1]), end];
  }

  #bracketed(at) {
    const end = this.#find(">", at);
    if (end === -1 || /\s/.test(this.text.slice(at, end))) return null;
    const address = this.text.slice(at + 1, end);
    return [link(address, address, address), end + 1];
  }

  #address(at) {
    const pattern = new RegExp(ADDRESS);
    pattern.lastIndex = at;
    let address = pattern.exec(this.text)?.[0].replace(/[.,;:!?*_~]+$/, "") ?? "";
    while (address.endsWith(")") && address.split("(").length < address.split(")").length) {
      address = address.slice(0, -1);
    }
    return safeAddress(address) ? [link(address, address, address), at + address.length] : null;
  }

  #find(wanted, from) {
    if (this.#missing.has(wanted)) return -1;
    const found = this.text.indexOf(wanted, from);
    if (found === -1) this.#missing.add(wanted);
    return found;
  }

  // Lines stay as the model broke them.
  #breakLines() {
    for (const node of [...this.#nodes.childNodes]) {
      if (node.nodeType === Node.TEXT_NODE && node.data.includes("\n")) {
        node.replaceWith(...brokenLines(node.data));
      }
    }
  }
}

function brokenLines(text) {
  const lines = text.split("\n").map((line) => line.replace(/ +$/, ""));
  return lines.flatMap((line, index) => (index ? [el("br"), line] : [line]));
}

const math = (source) => el("span", { class: "math" }, source);

function emphasised(mark, inner) {
  if (mark === "~~") return el("s", {}, inner);
  if (mark.length === 1) return el("em", {}, inner);
  return el("strong", {}, mark.length === 3 ? el("em", {}, inner) : inner);
}

const picture = (words, target) => {
  const shown = `${say("image")}: ${words || target}`;
  return link(shown, words, target);
};

// A link that shows where it leads, unless its words do.
function link(shown, words, target) {
  const address = safeAddress(target);
  if (address === null) return el("span", { class: "no-link", title: target }, shown);
  const made = el(
    "a",
    { href: address.href, target: "_blank", rel: "noopener noreferrer", title: address.href },
    shown,
  );
  if (words.includes(address.host)) return made;
  return el("span", {}, made, el("span", { class: "host" }, ` (${address.host})`));
}
