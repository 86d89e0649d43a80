// Elements, made one by one: no text is ever parsed as HTML.

const SVG = "http://www.w3.org/2000/svg";

// The element of the page with this id.
export const byId = (id) => document.getElementById(id);

// A new element: attributes by name, functions as listeners, then its children (texts or nodes).
export function el(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") made.addEventListener(name, value);
    else if (value === true) made.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) {
      made.setAttribute(name, value);
    }
  }
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

// A drawing of the sprite in the page, which says nothing by itself.
export function icon(name) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("class", "icon");
  svg.setAttribute("aria-hidden", "true");
  const use = document.createElementNS(SVG, "use");
  use.setAttribute("href", `#icon-${name}`);
  svg.append(use);
  return svg;
}

// A button that shows a drawing and has a name.
export function iconButton(name, label, click, more = {}) {
  const attributes = { type: "button", class: "icon-button", "aria-label": label, title: label };
  return el("button", { ...attributes, click, ...more }, icon(name));
}

// Put text on the clipboard; where the browser has none (plain HTTP), by way of a selection.
export async function copyText(text) {
  if (navigator.clipboard) {
    await navigator.clipboard.writeText(text);
    return;
  }
  const field = el("textarea", { class: "unseen", "aria-hidden": "true", tabindex: "-1" });
  field.value = text;
  const before = document.activeElement;
  document.body.append(field);
  field.select();
  const done = document.execCommand("copy");
  field.remove();
  before?.focus();
  if (!done) throw new Error("the browser refused");
}
