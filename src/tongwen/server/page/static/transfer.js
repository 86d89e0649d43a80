// Conversations as a file, out and in.

import { asConversation } from "./conversation.js";
import { el } from "./dom.js";
import { say } from "./words.js";

const FORMAT = "tongwen-conversations";
const VERSION = 1;
const MOST_BYTES = 64 << 20;

// Have the browser save conversations.
export function exportFile(conversations, name) {
  const document_ = {
    format: FORMAT,
    version: VERSION,
    exported: new Date().toISOString(),
    conversations,
  };
  const blob = new Blob([JSON.stringify(document_, null, 1)], { type: "application/json" });
  const address = URL.createObjectURL(blob);
  const day = new Date().toISOString().slice(0, 10);
  el("a", { href: address, download: `${name}-${day}.json` }).click();
  setTimeout(() => URL.revokeObjectURL(address), 60_000);
}

// The conversations of a file; all of them, or an error that says what is wrong.
export async function importFile(file) {
  if (file.size > MOST_BYTES) throw new Error(say("tooLarge"));
  let read;
  try {
    read = JSON.parse(await file.text());
  } catch {
    throw new Error(say("noJson"));
  }
  if (read?.format !== FORMAT || read.version !== VERSION || !Array.isArray(read.conversations)) {
    throw new Error(say("noExport"));
  }
  const conversations = read.conversations.map(asConversation);
  const damaged = conversations.indexOf(null);
  if (damaged !== -1) throw new Error(say("badConversation", damaged + 1));
  return conversations;
}
