// How the page looks: its theme, its language, and where its text stands.

import { byId, el } from "./dom.js";
import { prefer, preferences } from "./preferences.js";
import { applyWords, language, say } from "./words.js";

const THEMES = ["system", "light", "dark"];
const NEAR_PX = 80;

// The switches of theme and language; `changed` is called when the words are others, and
// `suggest` with a question that was picked.
export class Look {
  #changed;
  #suggest;

  constructor({ changed, suggest }) {
    this.#changed = changed;
    this.#suggest = suggest;
    byId("theme").addEventListener("click", () => this.#switchTheme());
    byId("language").addEventListener("click", () => this.#switchLanguage());
    this.#write();
  }

  #switchTheme() {
    const now = preferences().theme ?? "system";
    prefer({ theme: THEMES[(THEMES.indexOf(now) + 1) % THEMES.length] });
    this.#showTheme();
  }

  #switchLanguage() {
    document.documentElement.lang = language() === "en" ? "zh-CN" : "en";
    prefer({ language: language() });
    this.#write();
    this.#changed();
  }

  #write() {
    applyWords();
    byId("shortcut").textContent = /Mac|iP/.test(navigator.platform) ? "⌘ K" : "Ctrl K";
    this.#showTheme();
    byId("suggestions").replaceChildren(...say("suggestions").map((each) => this.#button(each)));
  }

  #showTheme() {
    const theme = preferences().theme ?? "system";
    const root = document.documentElement;
    if (theme === "system") delete root.dataset.theme;
    else root.dataset.theme = theme;
    const button = byId("theme");
    button.querySelector("use").setAttribute("href", `#icon-${theme}`);
    button.title = say("theme")[theme];
    button.setAttribute("aria-label", button.title);
  }

  #button([name, text]) {
    const click = () => this.#suggest(text);
    const words = [el("strong", {}, name), el("span", {}, text)];
    return el("button", { type: "button", click }, ...words);
  }
}

// Keeps the end of an answer in sight, unless the reader has gone up.
export class Following {
  #isFollowing = true;

  constructor() {
    byId("thread").addEventListener("scroll", () => this.#scrolled());
    byId("latest").addEventListener("click", () => this.begin());
  }

  // To the end, and along with it.
  begin() {
    this.#isFollowing = true;
    this.keep();
  }

  keep() {
    const thread = byId("thread");
    if (this.#isFollowing) thread.scrollTop = thread.scrollHeight;
    byId("latest").hidden = this.#isFollowing;
  }

  #scrolled() {
    const thread = byId("thread");
    const below = thread.scrollHeight - thread.scrollTop - thread.clientHeight;
    this.#isFollowing = below < NEAR_PX;
    byId("latest").hidden = this.#isFollowing;
  }
}
