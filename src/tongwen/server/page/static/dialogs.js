// The two dialogs: how the model is asked, and the key.

import { SAMPLING, isSetting } from "./conversation.js";
import { byId } from "./dom.js";
import { apiKey, forgetKey, keepKey } from "./preferences.js";
import { toast } from "./toasts.js";
import { number, say } from "./words.js";

// The system prompt and sampling of a conversation; `changed` is called with what was set.
export class SettingsDialog {
  #dialog = byId("settings");
  #form = byId("settings-form");
  #changed;

  constructor(changed) {
    this.#changed = changed;
    this.#form.addEventListener("input", () => this.#read());
    byId("reset").addEventListener("click", () => {
      this.#fill({ system: "", sampling: {} });
      this.#read();
    });
    byId("forget").addEventListener("click", () => {
      forgetKey();
      byId("forget").hidden = true;
      toast(say("keyForgotten"));
    });
    closeOnBackdrop(this.#dialog);
  }

  open(conversation, model) {
    this.#fill(conversation);
    const tokens = model?.context_length;
    byId("context").textContent = tokens ? say("context", number(tokens)) : "";
    byId("forget").hidden = apiKey() === null;
    this.#dialog.showModal();
  }

  #fill({ system, sampling }) {
    this.#form.elements.system.value = system;
    for (const name of Object.keys(SAMPLING)) {
      this.#form.elements[name].value = sampling[name] ?? "";
      this.#form.elements[name].removeAttribute("aria-invalid");
    }
  }

  // What is no setting is marked and left out.
  #read() {
    const sampling = {};
    for (const name of Object.keys(SAMPLING)) {
      const field = this.#form.elements[name];
      const value = field.valueAsNumber;
      const isEmpty = field.value === "" && !field.validity.badInput;
      if (isSetting(name, value)) sampling[name] = value;
      const isWrong = !isEmpty && !isSetting(name, value);
      if (isWrong) field.setAttribute("aria-invalid", "true");
      else field.removeAttribute("aria-invalid");
    }
    this.#changed({ system: this.#form.elements.system.value, sampling });
  }
}

// Ask for the key; true where one was given.
export function askForKey(message) {
  const dialog = byId("key");
  const form = byId("key-form");
  byId("key-said").textContent = message;
  form.reset();
  dialog.returnValue = "";
  if (!dialog.open) dialog.showModal();
  byId("no-key").onclick = () => dialog.close("");
  return new Promise((resolve) => {
    dialog.addEventListener(
      "close",
      () => {
        const key = form.elements.key.value.trim();
        const isGiven = dialog.returnValue === "use" && key !== "";
        if (isGiven) keepKey(key, { remember: form.elements.remember.checked });
        form.reset();
        resolve(isGiven);
      },
      { once: true },
    );
  });
}

function closeOnBackdrop(dialog) {
  dialog.addEventListener("click", (event) => {
    if (event.target === dialog) dialog.close();
  });
}
