// The models of the server, and which of them is asked.

import { askForKey } from "./dialogs.js";
import { byId, el } from "./dom.js";
import { preferences } from "./preferences.js";
import { listModels } from "./server.js";
import { say } from "./words.js";

export const UNAUTHORIZED = 401;

// `chosen` is called with the name of a model that was picked, `found` when the list is there.
export class Models {
  #models = [];
  #found;

  constructor({ chosen, found }) {
    this.#found = found;
    byId("model").addEventListener("change", (event) => chosen(event.target.value));
  }

  // Ask the server, and for a key where it wants one; whether it told.
  async find() {
    try {
      this.#models = await listModels();
    } catch (error) {
      if (error.status === UNAUTHORIZED && (await askForKey(error.message))) return this.find();
      this.#showTrouble(error.message);
      return false;
    }
    if (this.#models.length) byId("trouble").hidden = true;
    else this.#showTrouble(say("noModels"), "tongwen pull qwen2.5:0.5b");
    this.#found();
    return true;
  }

  named(name) {
    return this.#models.find((model) => model.id === name);
  }

  // The wanted model where there is one, else that of last time, else the first.
  best(wanted) {
    if (this.#models.length === 0) return wanted; // not told yet
    const names = [wanted, preferences().model, this.#models[0]?.id];
    return names.find((name) => this.named(name)) ?? "";
  }

  show(chosen) {
    const names = this.#models.map((model) => model.id);
    const select = byId("model");
    const options = names.map((name) => el("option", { selected: name === chosen }, name));
    select.replaceChildren(...(options.length ? options : [el("option", {}, say("noModel"))]));
    select.disabled = names.length === 0;
  }

  // Why nothing can be asked, with what helps.
  #showTrouble(message, command = null) {
    const click = () => this.find();
    byId("trouble").replaceChildren(
      el("p", {}, message),
      command ? el("code", {}, command) : "",
      el("button", { type: "button", class: "plain", click }, say("retry")),
    );
    byId("trouble").hidden = false;
  }
}
