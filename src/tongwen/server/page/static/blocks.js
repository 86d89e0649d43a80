// Markdown's blocks, read line by line.  A block ends where the next begins, so that of a text that
// grows only the last block can still change: `start` says where each began.

const DEEPEST = 8; // quotes and lists within each other; deeper ones are shown as text

const FENCE = /^ {0,3}(`{3,}|~{3,}) *([^`\s]*)[^`]*$/;
const HEADING = /^ {0,3}(#{1,6})(?:[ \t]+(.*?))?(?:[ \t]+#+)?[ \t]*$/;
const RULE = /^ {0,3}(?:(?:\*[ \t]*){3,}|(?:-[ \t]*){3,}|(?:_[ \t]*){3,})$/;
const QUOTE = /^ {0,3}> ?/;
const ITEM = /^( {0,3})([-*+]|\d{1,9}[.)])(?:[ \t]+|$)/;
const MATH = /^ {0,3}(\$\$|\\\[)/;
const DELIMITER = /^ {0,3}\|?[ \t]*:?-+:?[ \t]*(?:\|[ \t]*:?-+:?[ \t]*)*\|?[ \t]*$/;
const BLANK = /^[ \t]*$/;

// The blocks of a text, in order.
export function readBlocks(text, depth = 0) {
  const lines = text.split("\n");
  const starts = [];
  let offset = 0;
  for (const line of lines) {
    starts.push(offset);
    offset += line.length + 1;
  }
  const blocks = [];
  let at = 0;
  while (at < lines.length) {
    if (BLANK.test(lines[at])) {
      at += 1;
      continue;
    }
    const [block, next] = readBlock(lines, at, depth);
    blocks.push({ ...block, start: starts[at] });
    at = next;
  }
  return blocks;
}

function readBlock(lines, at, depth) {
  const line = lines[at];
  if (FENCE.test(line)) return readCode(lines, at);
  if (MATH.test(line)) return readMath(lines, at);
  if (HEADING.test(line)) {
    const [, marks, text = ""] = HEADING.exec(line);
    return [{ kind: "heading", level: marks.length, text }, at + 1];
  }
  if (RULE.test(line)) return [{ kind: "rule" }, at + 1];
  if (depth < DEEPEST && QUOTE.test(line)) return readQuote(lines, at, depth);
  if (depth < DEEPEST && ITEM.test(line)) return readList(lines, at, depth);
  if (isTable(lines, at)) return readTable(lines, at);
  return readParagraph(lines, at, depth);
}

// To the closing fence, or as far as the text has come.
function readCode(lines, at) {
  const [, fence, language] = FENCE.exec(lines[at]);
  const indent = lines[at].search(/[^ ]/);
  const ends = new RegExp(`^ {0,3}\\${fence[0]}{${fence.length},}[ \\t]*$`);
  const code = [];
  let next = at + 1;
  while (next < lines.length && !ends.test(lines[next])) {
    code.push(lines[next].replace(new RegExp(`^ {0,${indent}}`), ""));
    next += 1;
  }
  const isClosed = next < lines.length;
  return [{ kind: "code", language, text: code.join("\n"), isClosed }, next + isClosed];
}

function readMath(lines, at) {
  const close = MATH.exec(lines[at])[1] === "$$" ? "$$" : "\\]";
  let next = at;
  while (next < lines.length && !lines[next].slice(next === at ? 2 : 0).trimEnd().endsWith(close)) {
    next += 1;
    if (next < lines.length && BLANK.test(lines[next])) break; // never closed
  }
  const end = Math.min(next + 1, lines.length);
  return [{ kind: "math", text: lines.slice(at, end).join("\n").trim() }, end];
}

function readQuote(lines, at, depth) {
  const inner = [];
  let next = at;
  while (next < lines.length && QUOTE.test(lines[next])) {
    inner.push(lines[next].replace(QUOTE, ""));
    next += 1;
  }
  return [{ kind: "quote", blocks: readBlocks(inner.join("\n"), depth + 1) }, next];
}

function readList(lines, at, depth) {
  const [, , first] = ITEM.exec(lines[at]);
  const isOrdered = /\d/.test(first);
  const begin = isOrdered ? Number.parseInt(first, 10) : 1;
  const items = [];
  let next = at;
  while (next < lines.length && isSibling(lines[next], first)) {
    const [item, after] = readItem(lines, next);
    items.push(readBlocks(item, depth + 1));
    const follower = skipBlank(lines, after);
    // Blank lines between items belong to the list, those after the last do not.
    next = follower < lines.length && isSibling(lines[follower], first) ? follower : after;
    if (next === after && !isSibling(lines[next] ?? "", first)) break;
  }
  return [{ kind: "list", isOrdered, begin, items }, next];
}

// An item of the same list: the same mark, or any number with the same end.
function isSibling(line, first) {
  const found = ITEM.exec(line);
  if (found === null || RULE.test(line)) return false;
  const kind = (mark) => (/\d/.test(mark) ? mark.at(-1) : mark);
  return kind(found[2]) === kind(first);
}

// An item's text without its mark: its line, and what follows indented or without a gap.
function readItem(lines, at) {
  const mark = ITEM.exec(lines[at])[0];
  const indent = Math.min(mark.length, mark.trimEnd().length + 4);
  const body = [lines[at].slice(mark.length)];
  let next = at + 1;
  while (next < lines.length) {
    const line = lines[next].replace(/\t/g, "    ");
    if (BLANK.test(line)) {
      const follower = lines[skipBlank(lines, next)] ?? "";
      if (follower.search(/\S/) < 2) break;
      body.push("");
    } else if (line.search(/\S/) >= Math.min(indent, 2)) {
      body.push(line.slice(Math.min(line.search(/\S/), indent)));
    } else if (beginsBlock(lines, next) || BLANK.test(lines[next - 1])) break;
    else body.push(line);
    next += 1;
  }
  return [body.join("\n"), next];
}

function skipBlank(lines, at) {
  let next = at;
  while (next < lines.length && BLANK.test(lines[next])) next += 1;
  return next;
}

const isTable = (lines, at) =>
  lines[at].includes("|") &&
  at + 1 < lines.length &&
  DELIMITER.test(lines[at + 1]) &&
  cells(lines[at]).length === cells(lines[at + 1]).length;

function readTable(lines, at) {
  const head = cells(lines[at]);
  const sides = cells(lines[at + 1]).map((cell) => {
    if (!cell.endsWith(":")) return "start";
    return cell.startsWith(":") ? "center" : "end";
  });
  const rows = [];
  let next = at + 2;
  while (next < lines.length && lines[next].includes("|") && !FENCE.test(lines[next])) {
    const row = cells(lines[next]);
    rows.push(head.map((_, column) => row[column] ?? ""));
    next += 1;
  }
  return [{ kind: "table", head, sides, rows }, next];
}

// The cells of a row; a bar within code or after a backslash divides nothing.
function cells(line) {
  const parts = line.trim().replace(/^\|/, "").match(/(?:\\.|`[^`]*`|[^|\\`]|[\\`])+|\|/g) ?? [];
  const found = [""];
  for (const part of parts) {
    if (part === "|") found.push("");
    else found[found.length - 1] += part.replaceAll("\\|", "|");
  }
  if (found.length > 1 && found.at(-1).trim() === "") found.pop();
  return found.map((cell) => cell.trim());
}

function readParagraph(lines, at, depth) {
  let next = at + 1;
  while (next < lines.length && !BLANK.test(lines[next]) && !beginsBlock(lines, next, depth)) {
    next += 1;
  }
  return [{ kind: "paragraph", text: lines.slice(at, next).join("\n") }, next];
}

function beginsBlock(lines, at, depth = 0) {
  const line = lines[at];
  const plain = [FENCE, HEADING, RULE, MATH].some((mark) => mark.test(line));
  const nested = depth < DEEPEST && (QUOTE.test(line) || ITEM.test(line));
  return plain || nested || isTable(lines, at);
}
