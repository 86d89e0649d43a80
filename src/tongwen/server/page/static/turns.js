// The turns of a conversation on the page.

import { copyText, el, iconButton } from "./dom.js";
import { Growing } from "./markdown.js";
import { toast } from "./toasts.js";
import { number, say } from "./words.js";

// Shows a conversation within `root`; `actions` are what its buttons do:
// `edit(index, text)`, `regenerate()`, `goOn()`.
export class Turns {
  #root;
  #actions;
  #last = null;

  constructor(root, actions) {
    this.#root = root;
    this.#actions = actions;
  }

  show(conversation) {
    const { turns } = conversation;
    const views = turns.map((turn, index) =>
      turn.role === "user"
        ? this.#question(turn, index)
        : new AnswerView(turn, index === turns.length - 1 ? this.#actions : {}),
    );
    this.#last = views.at(-1) instanceof AnswerView ? views.at(-1) : null;
    this.#root.replaceChildren(...views.map((view) => view.article ?? view));
  }

  // The last answer has grown, or is done.
  update() {
    this.#last?.update();
  }

  #question(turn, index) {
    const bubble = el("div", { class: "bubble" }, turn.content);
    const article = el(
      "article",
      { class: "turn question", "aria-label": say("you") },
      bubble,
      el(
        "div",
        { class: "actions" },
        copyButton(() => turn.content),
        iconButton("edit", say("edit"), () => this.#editor(article, turn, index)),
      ),
    );
    return article;
  }

  // The question as a field, in its own place.
  #editor(article, turn, index) {
    const field = el("textarea", { rows: "3", "aria-label": say("editQuestion") });
    field.value = turn.content;
    const close = () => {
      const again = this.#question(turn, index);
      form.replaceWith(again);
      again.querySelector(".actions button:last-child").focus();
    };
    const submit = (event) => {
      event.preventDefault();
      if (field.value.trim()) this.#actions.edit(index, field.value);
    };
    const keydown = (event) => {
      if (event.key === "Escape") {
        event.stopPropagation();
        close();
      } else if (isSend(event)) submit(event);
    };
    const form = el(
      "form",
      { class: "turn question editing", submit, keydown },
      field,
      el(
        "div",
        { class: "buttons" },
        el("button", { type: "button", class: "plain", click: close }, say("cancel")),
        el("button", { type: "submit", class: "primary" }, say("ask2")),
      ),
    );
    article.replaceWith(form);
    field.focus();
  }
}

// Whether a key sends: Enter alone, and not to choose a word of an input method.
export const isSend = (event) =>
  event.key === "Enter" && !event.shiftKey && !event.isComposing && event.keyCode !== 229;

class AnswerView {
  #turn;
  #actions;
  #growing;
  #foot = el("div", { class: "foot" });

  constructor(turn, actions) {
    const prose = el("div", { class: "prose" });
    this.#turn = turn;
    this.#actions = actions;
    this.#growing = new Growing(prose);
    const attributes = { class: "turn answer", "aria-label": say("answer") };
    this.article = el("article", attributes, prose, this.#foot);
    this.update();
  }

  update() {
    const { content, finish } = this.#turn;
    const isOpen = finish === "open";
    this.#growing.show(content);
    this.article.classList.toggle("open", isOpen);
    this.article.setAttribute("aria-busy", String(isOpen));
    if (!isOpen) this.#foot.replaceChildren(...this.#end());
    else if (content === "") this.#foot.replaceChildren(waiting());
    else this.#foot.replaceChildren();
  }

  // What stands below an answer that is done.
  #end() {
    const { content, error, finish } = this.#turn;
    const { regenerate } = this.#actions;
    if (error !== undefined) return [this.#failure(error)];
    const how = { length: "cutOff", stopped: "stopped", content_filter: "filtered" }[finish];
    const buttons = [content && copyButton(() => content)];
    if (regenerate) buttons.push(iconButton("again", say("regenerate"), regenerate));
    return [
      how && el("p", { class: "note" }, say(how), this.#goOn()),
      el(
        "div",
        { class: "actions" },
        ...buttons.filter(Boolean),
        el("span", { class: "facts" }, facts(this.#turn)),
      ),
    ].filter(Boolean);
  }

  #goOn() {
    const { goOn } = this.#actions;
    if (!goOn || !this.#turn.content) return null;
    return el("button", { type: "button", class: "link", click: goOn }, say("goOn"));
  }

  #failure(error) {
    const { regenerate } = this.#actions;
    const button =
      regenerate &&
      el("button", { type: "button", class: "plain", click: regenerate }, say("retry"));
    return el(
      "div",
      { class: "failure", role: "alert" },
      el("strong", {}, say("failed")),
      el("p", {}, error),
      button,
    );
  }
}

const waiting = () =>
  el("p", { class: "waiting" }, el("span", { class: "pulse" }), say("thinking"));

function copyButton(text) {
  const button = iconButton("copy", say("copy"), async () => {
    try {
      await copyText(text());
      button.classList.add("done");
      button.setAttribute("aria-label", say("copied"));
      setTimeout(() => {
        button.classList.remove("done");
        button.setAttribute("aria-label", say("copy"));
      }, 1_600);
    } catch {
      toast(say("notCopied"));
    }
  });
  return button;
}

// Tokens, their speed, and how long the first took.
function facts({ tokens, speed, first }) {
  const told = [];
  if (tokens !== undefined) told.push(say("tokens", number(tokens)));
  if (speed !== undefined) told.push(say("speed", number(speed, 1)));
  if (first !== undefined) told.push(say("first", number(first, 2)));
  return told.join(" · ");
}
