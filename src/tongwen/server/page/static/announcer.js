// Tells screen readers of an answer in whole sentences, not token by token.

import { byId } from "./dom.js";
import { say } from "./words.js";

const PAUSE_MS = 2_500;
const SENTENCE = /^[\s\S]*(?:[.!?](?=\s)|[。！？\n])/;

export class Announcer {
  #region = byId("announcer");
  #told = 0;
  #when = 0;

  // Begin with another answer, of which so many characters were heard.
  begin(told = 0) {
    this.#told = told;
    this.#when = performance.now();
    this.#region.textContent = "";
  }

  // Tell the sentences that are new, now and then.
  follow(text) {
    if (performance.now() - this.#when < PAUSE_MS) return;
    const sentences = SENTENCE.exec(text.slice(this.#told))?.[0] ?? "";
    if (sentences.trim() === "") return;
    this.#told += sentences.length;
    this.#say(sentences);
  }

  // Tell what is left, and that it is over.
  end(text, how = say("finished")) {
    this.#say(`${text.slice(this.#told)} ${how}`);
    this.#told = text.length;
  }

  #say(text) {
    this.#when = performance.now();
    this.#region.textContent = plain(text);
  }
}

// Words without Markdown's marks, which would be read aloud.
const plain = (text) => text.replace(/[`*_#|~>]+/g, " ").replace(/\s+/g, " ").trim();
