// The list of conversations: found, opened, renamed, deleted.

import { matches } from "./conversation.js";
import { byId, el, iconButton } from "./dom.js";
import { say } from "./words.js";

const DAY_MS = 86_400_000;

// `actions`: `rename(conversation, title)` and `remove(conversation)`.
export class Sidebar {
  #actions;
  #conversations = [];
  #current = null;
  #isRenaming = false;

  constructor(actions) {
    this.#actions = actions;
    byId("search").addEventListener("input", () => this.#draw());
  }

  // Show these, the latest first.
  show(conversations, current) {
    this.#conversations = [...conversations].sort((a, b) => b.updated - a.updated);
    this.#current = current;
    this.#draw();
  }

  #draw() {
    if (this.#isRenaming) return;
    const focus = document.activeElement;
    const id = focus.closest("#list li")?.dataset.id;
    const place = [...(focus.parentElement?.children ?? [])].indexOf(focus);
    this.#fill();
    if (id) byId("list").querySelector(`li[data-id="${id}"]`)?.children[place]?.focus();
  }

  #fill() {
    const wanted = byId("search").value.trim();
    const found = this.#conversations.filter((each) => !wanted || matches(each, wanted));
    const list = byId("list");
    if (found.length === 0) {
      list.replaceChildren(el("p", { class: "none" }, say(wanted ? "noneFound" : "noneYet")));
      return;
    }
    const groups = groupBy(found, age);
    list.replaceChildren(...[...groups].flatMap(([name, those]) => this.#group(name, those)));
  }

  #group(name, conversations) {
    const id = `group-${name}`;
    return [
      el("h2", { id }, say(name)),
      el("ul", { "aria-labelledby": id }, ...conversations.map((each) => this.#row(each))),
    ];
  }

  #row(conversation) {
    const title = conversation.title || say("untitled");
    const isCurrent = conversation.id === this.#current;
    const link = { href: `#${conversation.id}`, "aria-current": isCurrent && "page", title };
    const row = el(
      "li",
      { class: isCurrent ? "current" : "", "data-id": conversation.id },
      el("a", link, title),
      iconButton("edit", say("rename", title), () => this.#rename(row, conversation)),
      iconButton("bin", say("remove", title), () => this.#remove(row, conversation)),
    );
    return row;
  }

  #rename(row, conversation) {
    const field = el("input", { type: "text", "aria-label": say("newTitle"), maxlength: "200" });
    field.value = conversation.title;
    this.#isRenaming = true;
    const close = (isKept) => {
      if (!this.#isRenaming) return;
      this.#isRenaming = false;
      const title = field.value.trim();
      if (isKept && title) this.#actions.rename(conversation, title);
      else this.#draw();
      this.#focus(conversation.id);
    };
    field.addEventListener("blur", () => close(true));
    field.addEventListener("keydown", (event) => {
      if (event.isComposing || !["Enter", "Escape"].includes(event.key)) return;
      event.preventDefault();
      event.stopPropagation();
      close(event.key === "Enter");
    });
    row.replaceChildren(field);
    field.select();
  }

  // The focus goes on to the next row, or to the search.
  #remove(row, conversation) {
    const links = [...byId("list").querySelectorAll("a")];
    const next = links[links.indexOf(row.querySelector("a")) + 1];
    const id = next?.getAttribute("href").slice(1);
    this.#actions.remove(conversation);
    if (id) this.#focus(id);
    else byId("search").focus();
  }

  #focus(id) {
    byId("list").querySelector(`a[href="#${id}"]`)?.focus();
  }
}

function age({ updated }) {
  const midnight = new Date().setHours(0, 0, 0, 0);
  if (updated >= midnight) return "today";
  if (updated >= midnight - DAY_MS) return "yesterday";
  return updated >= midnight - 6 * DAY_MS ? "week" : "earlier";
}

function groupBy(values, name) {
  const groups = new Map();
  for (const value of values) {
    if (!groups.has(name(value))) groups.set(name(value), []);
    groups.get(name(value)).push(value);
  }
  return groups;
}
