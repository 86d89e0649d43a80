// The page: its parts put together, and what the user's hands do.

import { Announcer } from "./announcer.js";
import { newConversation, retitle } from "./conversation.js";
import { SettingsDialog, askForKey } from "./dialogs.js";
import { byId } from "./dom.js";
import { Drawer } from "./drawer.js";
import { Following, Look } from "./look.js";
import { Models, UNAUTHORIZED } from "./models.js";
import { prefer, preferences } from "./preferences.js";
import { Run } from "./run.js";
import { Sidebar } from "./sidebar.js";
import { Store } from "./store.js";
import { toast } from "./toasts.js";
import { exportFile, importFile } from "./transfer.js";
import { Turns, isSend } from "./turns.js";
import { applyWords, say } from "./words.js";

const SAVE_MS = 1_000; // an answer in the making outlasts a reload but for its last second
const SLOW_MS = 8;
const hasKeys = matchMedia("(hover: hover)"); // elsewhere a focus would open a keyboard

class Chat {
  #store = new Store((error) =>
    toast(say(error?.name === "QuotaExceededError" ? "storageFull" : "notKept")),
  );
  #conversations = new Map();
  #current = null;
  #runs = new Map(); // by conversation: each may have one answer in the making
  #models = new Models({
    chosen: (model) => this.#set({ model }),
    found: () => this.#showModels(),
  });
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
  #following = new Following();
  #drawer = new Drawer();
  #forgetUndo = () => {};
  #isPainting = false;
  #saved = 0;

  async start() {
    new Look({ changed: () => this.#show(), suggest: (text) => this.#suggest(text) });
    this.#listen();
    if (!(await this.#store.open())) toast(say("notKept"));
    for (const each of await this.#store.all()) this.#conversations.set(each.id, each);
    this.#follow();
    await this.#models.find();
  }

  // ---- what is asked

  async #send() {
    if (!this.#current.model) await this.#models.find();
    const field = byId("question");
    const text = field.value.trim();
    if (!text || this.#isRunning() || !this.#canAsk()) return;
    field.value = "";
    this.#grow();
    this.#forgetUndo(); // it would take this question away too
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
    this.#show();
    this.#save(conversation);
    const error = await finished;
    if (this.#runs.get(conversation.id) !== run) return; // another has taken its place
    this.#runs.delete(conversation.id);
    this.#save(conversation);
    if (conversation === this.#current) this.#showEnd(turn);
    if (error?.status === UNAUTHORIZED) await this.#askAgain(conversation, error.message);
  }

  async #askAgain(conversation, message) {
    const isGiven = (await askForKey(message)) && (await this.#models.find());
    if (isGiven && conversation === this.#current && !this.#isRunning()) this.#again();
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
    if (!this.#canAsk()) return;
    this.#offerUndo();
    this.#leave(this.#current);
    this.#current.turns.length = index;
    this.#ask(text.trim());
    byId("question").focus();
  }

  // An answer that is still coming is not shown any more; it ends by itself.
  #leave(conversation) {
    this.#runs.get(conversation.id)?.stop();
    this.#runs.delete(conversation.id);
  }

  #offerUndo() {
    const conversation = this.#current;
    const turns = structuredClone(conversation.turns);
    const undo = () => {
      this.#leave(conversation);
      conversation.turns = turns;
      closeOpen(conversation);
      this.#save(conversation);
      if (conversation === this.#current) this.#show();
    };
    this.#forgetUndo = toast(say("replaced"), { undo });
  }

  #canAsk() {
    return this.#current.model !== "";
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
  #paint() {
    if (this.#isPainting) return;
    this.#isPainting = true;
    const draw = () => {
      const begun = performance.now();
      this.#isPainting = false;
      this.#turns.update();
      this.#following.keep();
      const tookMs = performance.now() - begun;
      if (tookMs > SLOW_MS) this.#rest(4 * tookMs);
    };
    requestAnimationFrame(draw);
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
    this.#showTitle();
    this.#turns.show(conversation);
    this.#showComposer();
    this.#showModels();
    this.#showSettings();
    this.#showList();
    if (!isNew) this.#following.begin();
    if (document.activeElement === document.body && hasKeys.matches) byId("question").focus();
  }

  #showTitle() {
    const { title } = this.#current;
    byId("heading").textContent = title || say("newConversation");
    document.title = title ? `${title} · ${say("title")}` : say("title");
  }

  #showEnd(turn) {
    this.#turns.update();
    this.#showComposer();
    this.#showList();
    this.#following.keep();
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

  #showModels() {
    this.#current.model = this.#models.best(this.#current.model);
    this.#models.show(this.#current.model);
  }

  #showSettings() {
    const { system, sampling } = this.#current;
    const isChanged = system.trim() !== "" || Object.keys(sampling).length > 0;
    const button = byId("open-settings");
    button.classList.toggle("changed", isChanged);
    button.dataset.label = isChanged ? "settingsChanged" : "settings";
    applyWords(button.parentElement);
  }

  // ---- conversations

  // Show the conversation that the address names, or a new one.
  #follow() {
    const found = this.#conversations.get(location.hash.slice(1));
    if (found && !this.#runs.has(found.id)) closeOpen(found);
    this.#current = found ?? newConversation(preferences());
    this.#show();
    this.#drawer.close();
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
    if (conversation === this.#current) this.#showTitle();
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
    on("skip", "click", (event) => {
      event.preventDefault();
      byId("question").focus();
    });
    on("question", "input", () => this.#grow());
    on("stop", "click", () => {
      this.#stop();
      byId("question").focus();
    });
    on("new", "click", () => this.#begin());
    on("open-settings", "click", () => {
      this.#settings.open(this.#current, this.#models.named(this.#current.model));
    });
    on("export-all", "click", () => exportFile([...this.#conversations.values()], "tongwen"));
    on("export-one", "click", () => exportFile([this.#current], "tongwen-conversation"));
    on("import", "click", () => byId("file").click());
    on("file", "change", (event) => {
      const [file] = event.target.files;
      event.target.value = "";
      if (file) this.#import(file);
    });
    window.addEventListener("popstate", () => this.#follow());
    document.addEventListener("keydown", (event) => this.#key(event));
  }

  #key(event) {
    if (document.querySelector("dialog[open]") || event.isComposing) return;
    if (event.key === "Escape") {
      if (this.#drawer.isOpen) this.#drawer.close();
      else this.#stop();
    } else if (event.key.toLowerCase() === "k" && (event.ctrlKey || event.metaKey)) {
      event.preventDefault();
      this.#begin();
    }
  }

  // The field is as high as its text, up to a third of the page.
  #grow() {
    const field = byId("question");
    field.style.height = "auto";
    field.style.height = `${field.scrollHeight}px`;
    this.#showComposer();
  }

  #suggest(text) {
    byId("question").value = text;
    this.#grow();
    byId("question").focus();
  }
}

// An answer that a reload cut off was stopped.
function closeOpen(conversation) {
  for (const turn of conversation.turns) if (turn.finish === "open") turn.finish = "stopped";
}

new Chat().start();
