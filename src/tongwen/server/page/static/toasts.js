// Short notes at the edge of the page, some of which can be undone.

import { byId, el, iconButton } from "./dom.js";
import { say } from "./words.js";

const SHOWN_MS = 9_000;

// Show a note; with `undo`, a button that calls it.  What is returned takes the note away.
export function toast(text, { undo = null } = {}) {
  const close = () => note.remove();
  const button = undo && el("button", { type: "button", class: "link", click: undone }, say("undo"));
  const note = el("div", { class: "toast" }, el("span", {}, text), button);
  note.append(iconButton("close", say("dismiss"), close));
  function undone() {
    close();
    undo();
  }
  byId("toasts").replaceChildren(note);
  fade(note);
  return close;
}

// Goes by itself, but not under a hand or a focus.
function fade(note) {
  setTimeout(() => {
    if (note.matches(":hover, :focus-within")) fade(note);
    else note.remove();
  }, SHOWN_MS);
}
