// The page: its parts put together, and what the user's hands do.

import { Announcer } from "./announcer.js";
import { newConversation, retitle } from "./conversation.js";
import { SettingsDialog, askForKey } from "./dialogs.js";
import { byId, el } from "./dom.js";
import { prefer, preferences } from "./preferences.js";
import { Run } from "./run.js";
import { listModels } from "./server.js";
import { Sidebar } from "./sidebar.js";
import { Store } from "./store.js";
import { toast } from "./toasts.js";
import { exportFile, importFile } from "./transfer.js";
import { Turns, isSend } from "./turns.js";
import { applyWords, language, say } from "./words.js";

const THEMES = ["system", "light", "dark"];
const SAVE_MS = 1_000; // an answer in the making outlasts a reload but for its last second
const NEAR_PX = 80;
const UNAUTHORIZED = 401;

class Chat {
  #store = new Store(() => toast(say("storageFull")));
  #conversations = new Map();
  #current = null;
  #runs = new Map(); // by conversation: each may have one answer in the making
  #models = [];
  #announcer = new Announcer();
  #settings = new SettingsDialog((changes) => this.#set(changes));
  #sidebar = new Sidebar({
    rename: (conversation, title) => this.#rename(conversation, title),
    remove: (conversation) => this.#remove(conversation),
  });
  #turns = new Turns(byId("turns"), {
    edit: (index, text) => this.#edit(index, text),
    regenerate: () => this.#regenerate(),
    goOn: () => this.#goOn(),
  });
  #isPainting = false;
  #isFollowing = true; // whether the end of the answer is kept in sight
  #saved = 0;

  async start() {
    this.#showTheme();
    applyWords();
    this.#listen();
    if (!(await this.#store.open())) toast(say("notKept"));
    for (const each of await this.#store.all()) this.#conversations.set(each.id, each);
    this.#follow();
    await this.#findModels();
  }

  // ---- what is asked

  #send() {
    const field = byId("question");
    const text = field.value.trim();
    if (!text || this.#isRunning() || !this.#canAsk()) return;
    field.value = "";
    this.#grow();
    this.#ask(text);
  }

  #ask(text) {
    const conversation = this.#current;
    conversation.turns.push({ role: "user", content: text });
    retitle(conversation);
    this.#conversations.set(conversation.id, conversation);
    history.replaceState(null, "", `#${conversation.id}`);
    this.#answer();
  }

  // Begin an answer after the last question.
  #answer() {
    const turn = { role: "assistant", content: "", model: this.#current.model, finish: "open" };
    this.#current.turns.push(turn);
    this.#run(turn);
  }

  async #run(turn) {
    const conversation = this.#current;
    const run = new Run(conversation, turn, () => this.#changed(run));
    this.#runs.set(conversation.id, run);
    conversation.updated = Date.now();
    this.#announcer.begin(turn.content.length);
    const finished = run.finish();
    this.#isFollowing = true;
    this.#show();
    this.#save(conversation);
    const error = await finished;
    this.#runs.delete(conversation.id);
    this.#save(conversation);
    if (conversation === this.#current) this.#showEnd(turn);
    if (error?.status === UNAUTHORIZED && (await askForKey(error.message))) {
      this.#findModels();
      if (conversation === this.#current) this.#again();
    }
  }

  #stop() {
    this.#runs.get(this.#current.id)?.stop();
  }

  #regenerate() {
    if (this.#isRunning() || !this.#canAsk()) return;
    const { turns } = this.#current;
    if (turns.at(-1).content) this.#offerUndo();
    this.#again();
  }

  #again() {
    this.#current.turns.pop();
    this.#answer();
  }

  #goOn() {
    if (!this.#isRunning() && this.#canAsk()) this.#run(this.#current.turns.at(-1));
  }

  #edit(index, text) {
    this.#stop();
    if (!this.#canAsk()) return;
    this.#offerUndo();
    this.#leave();
    this.#current.turns.length = index;
    this.#ask(text.trim());
    byId("question").focus();
  }

  // An answer that is still coming is not shown any more; it ends by itself.
  #leave() {
    const run = this.#runs.get(this.#current.id);
    if (!run) return;
    run.stop();
    this.#runs.delete(this.#current.id);
  }

  #offerUndo() {
    const conversation = this.#current;
    const turns = structuredClone(conversation.turns);
    const undo = () => {
      this.#runs.get(conversation.id)?.stop();
      conversation.turns = turns.map((turn) =>
        turn.finish === "open" ? { ...turn, finish: "stopped" } : turn,
      );
      this.#save(conversation);
      if (conversation === this.#current) this.#show();
    };
    toast(say("replaced"), { undo });
  }

  #canAsk() {
    if (this.#current.model) return true;
    this.#findModels();
    return false;
  }

  #isRunning() {
    return this.#runs.has(this.#current.id);
  }

  // ---- what is shown

  #changed(run) {
    const { conversation, turn } = run;
    if (this.#runs.get(conversation.id) !== run) return;
    const now = performance.now();
    if (now - this.#saved > SAVE_MS) {
      this.#saved = now;
      this.#store.put(conversation);
    }
    if (conversation !== this.#current) return;
    this.#announcer.follow(turn.content);
    this.#paint();
  }

  // Draw what has come, at most once a frame, and less often where drawing takes long.
  #paint(pauseMs = 0) {
    if (this.#isPainting) return;
    this.#isPainting = true;
    const draw = () => {
      const begun = performance.now();
      this.#isPainting = false;
      this.#turns.update();
      this.#keepEnd();
      const tookMs = performance.now() - begun;
      if (tookMs > 8) this.#rest(4 * tookMs);
    };
    setTimeout(() => requestAnimationFrame(draw), pauseMs);
  }

  #rest(pauseMs) {
    this.#isPainting = true;
    setTimeout(() => {
      this.#isPainting = false;
      this.#paint();
    }, pauseMs);
  }

  #show() {
    const conversation = this.#current;
    const isNew = conversation.turns.length === 0;
    byId("welcome").hidden = !isNew;
    byId("turns").hidden = isNew;
    byId("export-one").hidden = isNew;
    byId("heading").textContent = conversation.title || say("newConversation");
    this.#turns.show(conversation);
    this.#showComposer();
    this.#showModels();
    this.#showSettings();
    this.#showList();
    this.#keepEnd();
  }

  #showEnd(turn) {
    this.#turns.update();
    this.#showComposer();
    this.#showList();
    this.#keepEnd();
    this.#announcer.end(turn.content, turn.finish === "stopped" ? say("stopped") : undefined);
  }

  #showComposer() {
    const isRunning = this.#isRunning();
    byId("send").hidden = isRunning;
    byId("stop").hidden = !isRunning;
    byId("send").disabled = byId("question").value.trim() === "";
  }

  #showList() {
    this.#sidebar.show(this.#conversations.values(), this.#current.id);
  }

  #showSettings() {
    const { system, sampling } = this.#current;
    const isChanged = system.trim() !== "" || Object.keys(sampling).length > 0;
    const button = byId("open-settings");
    button.classList.toggle("changed", isChanged);
    button.dataset.label = isChanged ? "settingsChanged" : "settings";
    applyWords(button.parentElement);
  }

  #keepEnd() {
    const thread = byId("thread");
    if (this.#isFollowing) thread.scrollTop = thread.scrollHeight;
    byId("latest").hidden = this.#isFollowing;
  }

  // ---- models

  async #findModels() {
    try {
      this.#models = await listModels();
    } catch (error) {
      if (error.status === UNAUTHORIZED) {
        if (await askForKey(error.message)) await this.#findModels();
        return;
      }
      this.#showTrouble(error.message);
      return;
    }
    this.#showTrouble(this.#models.length ? null : say("noModels"), "tongwen pull qwen2.5:0.5b");
    this.#showModels();
  }

  // Why nothing can be asked, with a command or a button that helps.
  #showTrouble(message, command = null) {
    const trouble = byId("trouble");
    trouble.hidden = message === null;
    if (message === null) return;
    const again = el(
      "button",
      { type: "button", class: "plain", click: () => this.#findModels() },
      say("retry"),
    );
    trouble.replaceChildren(el("p", {}, message), command ? el("code", {}, command) : "", again);
  }

  #showModels() {
    const select = byId("model");
    const names = this.#models.map((model) => model.id);
    const wanted = [this.#current.model, preferences().model].find((name) => names.includes(name));
    this.#current.model = wanted ?? names[0] ?? "";
    const shown = names.length ? names : [say("noModel")];
    select.replaceChildren(
      ...shown.map((name) => el("option", { selected: name === this.#current.model }, name)),
    );
    select.disabled = names.length === 0;
  }

  // ---- conversations

  // Show the conversation that the address names, or a new one.
  #follow() {
    const found = this.#conversations.get(location.hash.slice(1));
    if (found && !this.#runs.has(found.id)) closeOpen(found);
    this.#current = found ?? newConversation(preferences());
    this.#isFollowing = true;
    this.#show();
    this.#closeDrawer();
  }

  #begin() {
    history.pushState(null, "", location.pathname);
    this.#follow();
    byId("question").focus();
  }

  async #save(conversation) {
    if (this.#conversations.has(conversation.id)) await this.#store.put(conversation);
  }

  #set(changes) {
    Object.assign(this.#current, changes);
    prefer(changes);
    this.#save(this.#current);
    this.#showSettings();
  }

  #rename(conversation, title) {
    Object.assign(conversation, { title, isNamed: true });
    this.#save(conversation);
    if (conversation === this.#current) byId("heading").textContent = title;
    this.#showList();
  }

  #remove(conversation) {
    this.#runs.get(conversation.id)?.stop();
    this.#conversations.delete(conversation.id);
    this.#store.remove(conversation.id);
    if (conversation === this.#current) {
      history.replaceState(null, "", location.pathname);
      this.#follow();
    } else this.#showList();
    const undo = () => {
      this.#conversations.set(conversation.id, conversation);
      this.#save(conversation);
      this.#showList();
    };
    toast(say("deleted", conversation.title || say("untitled")), { undo });
  }

  async #import(file) {
    let found;
    try {
      found = await importFile(file);
    } catch (error) {
      toast(say("notImported", error.message));
      return;
    }
    const added = found.filter(
      (each) => !(this.#conversations.get(each.id)?.updated >= each.updated),
    );
    for (const each of added) {
      this.#conversations.set(each.id, each);
      await this.#store.put(each);
    }
    this.#follow();
    toast(say("imported", added.length, found.length - added.length));
  }

  // ---- hands

  #listen() {
    const on = (id, event, act) => byId(id).addEventListener(event, act);
    on("composer", "submit", (event) => {
      event.preventDefault();
      this.#send();
    });
    on("question", "keydown", (event) => {
      if (!isSend(event)) return;
      event.preventDefault();
      this.#send();
    });
    on("question", "input", () => this.#grow());
    on("stop", "click", () => {
      this.#stop();
      byId("question").focus();
    });
    on("new", "click", () => this.#begin());
    on("model", "change", () => this.#set({ model: byId("model").value }));
    on("open-settings", "click", () => this.#settings.open(this.#current, this.#model()));
    on("export-all", "click", () => exportFile([...this.#conversations.values()], "tongwen"));
    on("export-one", "click", () => exportFile([this.#current], "tongwen-conversation"));
    on("import", "click", () => byId("file").click());
    on("file", "change", (event) => {
      const [file] = event.target.files;
      event.target.value = "";
      if (file) this.#import(file);
    });
    on("language", "click", () => this.#switchLanguage());
    on("theme", "click", () => this.#switchTheme());
    on("open-menu", "click", () => this.#openDrawer());
    on("close-menu", "click", () => this.#closeDrawer());
    on("shade", "click", () => this.#closeDrawer());
    on("thread", "scroll", () => this.#scrolled());
    on("latest", "click", () => {
      this.#isFollowing = true;
      this.#keepEnd();
    });
    window.addEventListener("hashchange", () => this.#follow());
    window.addEventListener("popstate", () => this.#follow());
    document.addEventListener("keydown", (event) => this.#key(event));
    matchMedia("(max-width: 767px)").addEventListener("change", () => this.#closeDrawer());
  }

  #key(event) {
    if (document.querySelector("dialog[open]") || event.isComposing) return;
    if (event.key === "Escape") {
      if (document.body.classList.contains("drawer")) this.#closeDrawer();
      else this.#stop();
    } else if (event.key.toLowerCase() === "k" && (event.ctrlKey || event.metaKey)) {
      event.preventDefault();
      this.#begin();
    }
  }

  #model() {
    return this.#models.find((model) => model.id === this.#current.model);
  }

  // The field is as high as its text, up to a third of the page.
  #grow() {
    const field = byId("question");
    field.style.height = "auto";
    field.style.height = `${field.scrollHeight}px`;
    this.#showComposer();
  }

  #scrolled() {
    const thread = byId("thread");
    const below = thread.scrollHeight - thread.scrollTop - thread.clientHeight;
    this.#isFollowing = below < NEAR_PX;
    byId("latest").hidden = this.#isFollowing;
  }

  #openDrawer() {
    document.body.classList.add("drawer");
    byId("sidebar").inert = false;
    byId("main").inert = true;
    byId("open-menu").setAttribute("aria-expanded", "true");
    byId("close-menu").focus();
  }

  #closeDrawer() {
    const wasOpen = document.body.classList.contains("drawer");
    document.body.classList.remove("drawer");
    byId("main").inert = false;
    byId("sidebar").inert = matchMedia("(max-width: 767px)").matches;
    byId("open-menu").setAttribute("aria-expanded", "false");
    if (wasOpen) byId("open-menu").focus();
  }

  #switchLanguage() {
    document.documentElement.lang = language() === "en" ? "zh-CN" : "en";
    prefer({ language: language() });
    applyWords();
    this.#showTheme();
    this.#showSuggestions();
    this.#show();
  }

  #switchTheme() {
    const now = preferences().theme ?? "system";
    prefer({ theme: THEMES[(THEMES.indexOf(now) + 1) % THEMES.length] });
    this.#showTheme();
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
    this.#showSuggestions();
  }

  #showSuggestions() {
    const ask = (text) => {
      byId("question").value = text;
      this.#grow();
      byId("question").focus();
    };
    const button = ([name, text]) =>
      el(
        "button",
        { type: "button", click: () => ask(text) },
        el("strong", {}, name),
        el("span", {}, text),
      );
    byId("suggestions").replaceChildren(...say("suggestions").map(button));
  }
}

// An answer that a reload cut off was stopped.
function closeOpen(conversation) {
  for (const turn of conversation.turns) if (turn.finish === "open") turn.finish = "stopped";
}

new Chat().start();
