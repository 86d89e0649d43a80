// What the user chose, and the key: small things in the browser's own storage.

const NAME = "tongwen.preferences";
const KEY = "tongwen.key";

// A storage that may be switched off: then what is set lasts as long as the page.
class Kept {
  #storage;
  #meanwhile = new Map();

  constructor(find) {
    try {
      this.#storage = find();
    } catch {
      this.#storage = null;
    }
  }

  get(name) {
    return this.#meanwhile.get(name) ?? this.#storage?.getItem(name) ?? null;
  }

  set(name, value) {
    try {
      this.#storage.setItem(name, value);
      this.#meanwhile.delete(name);
    } catch {
      this.#meanwhile.set(name, value);
    }
  }

  remove(name) {
    this.#meanwhile.delete(name);
    this.#storage?.removeItem(name);
  }
}

const lasting = new Kept(() => localStorage);
const passing = new Kept(() => sessionStorage);

// Theme, language, model, system prompt and sampling, as they were last chosen.
export function preferences() {
  try {
    const read = JSON.parse(lasting.get(NAME) ?? "{}");
    return read && typeof read === "object" ? read : {};
  } catch {
    return {};
  }
}

export function prefer(changes) {
  lasting.set(NAME, JSON.stringify({ ...preferences(), ...changes }));
}

// The key, if one was given.
export const apiKey = () => passing.get(KEY) ?? lasting.get(KEY);

// Keep a key until the tab is closed, or for good.
export function keepKey(key, { remember }) {
  forgetKey();
  (remember ? lasting : passing).set(KEY, key);
}

export function forgetKey() {
  passing.remove(KEY);
  lasting.remove(KEY);
}
