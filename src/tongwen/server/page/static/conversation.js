// A conversation: what it holds, what it is called, and whether something is one.
//
//   { id, title, isNamed, created, updated, model, system, sampling, turns: [
//       { role: "user", content },
//       { role: "assistant", content, model, finish, error, tokens, speed, first } ] }

const MOST_TITLE = 60;

// The sampling settings: their names on the wire, and what each may be.
export const SAMPLING = {
  temperature: { least: 0, most: 2, isWhole: false },
  top_p: { least: 0.01, most: 1, isWhole: false },
  max_tokens: { least: 1, most: 1_000_000, isWhole: true },
  repetition_penalty: { least: 0.1, most: 3, isWhole: false },
  seed: { least: 0, most: Number.MAX_SAFE_INTEGER, isWhole: true },
};

const FINISHES = ["open", "stop", "length", "stopped", "error", "tool_calls", "content_filter"];

// 128 random bits; `crypto.randomUUID` is missing on plain HTTP.
function newId() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

export function newConversation({ model = "", system = "", sampling = {} }) {
  const now = Date.now();
  return {
    id: newId(),
    title: "",
    isNamed: false,
    created: now,
    updated: now,
    model,
    system,
    sampling: { ...sampling },
    turns: [],
  };
}

// The first line of the first question, unless it was given a name.
export function retitle(conversation) {
  if (conversation.isNamed) return;
  const line = conversation.turns[0]?.content.trim().split("\n")[0] ?? "";
  const characters = [...line];
  const isLong = characters.length > MOST_TITLE;
  conversation.title = isLong ? characters.slice(0, MOST_TITLE).join("").trim() + "…" : line;
}

// What the server is sent: answers that never came are left out.
export function messagesOf(conversation) {
  const turns = conversation.turns.filter((turn) => turn.role === "user" || turn.content);
  const said = turns.map(({ role, content }) => ({ role, content }));
  return conversation.system.trim()
    ? [{ role: "system", content: conversation.system }, ...said]
    : said;
}

export function matches(conversation, wanted) {
  const text = wanted.toLocaleLowerCase();
  const has = (words) => words.toLocaleLowerCase().includes(text);
  return has(conversation.title) || conversation.turns.some((turn) => has(turn.content));
}

export const isSetting = (name, value) => {
  const { least, most, isWhole } = SAMPLING[name];
  const isNumber = typeof value === "number" && Number.isFinite(value);
  return isNumber && value >= least && value <= most && (!isWhole || Number.isInteger(value));
};

// The conversation that a value from outside describes, or null: nothing else is taken over.
export function asConversation(value) {
  const isTold =
    isObject(value) &&
    /^[\w-]{1,64}$/.test(value.id) &&
    ["title", "model", "system"].every((name) => typeof value[name] === "string") &&
    ["created", "updated"].every((name) => isTime(value[name])) &&
    isObject(value.sampling) &&
    Array.isArray(value.turns);
  if (!isTold) return null;
  const settings = Object.entries(value.sampling);
  if (!settings.every(([name, each]) => Object.hasOwn(SAMPLING, name) && isSetting(name, each))) {
    return null;
  }
  const turns = value.turns.map(asTurn);
  if (turns.includes(null)) return null;
  const { id, title, created, updated, model, system } = value;
  const sampling = Object.fromEntries(settings);
  return { id, title, isNamed: value.isNamed === true, created, updated, model, system, sampling, turns };
}

function asTurn(value) {
  if (!isObject(value) || typeof value.content !== "string") return null;
  if (value.role === "user") return { role: "user", content: value.content };
  if (value.role !== "assistant") return null;
  const turn = { role: "assistant", content: value.content, finish: "stop" };
  if (FINISHES.includes(value.finish)) turn.finish = value.finish;
  for (const name of ["model", "error"]) {
    if (typeof value[name] === "string") turn[name] = value[name];
  }
  for (const name of ["tokens", "speed", "first"]) {
    if (Number.isFinite(value[name])) turn[name] = value[name];
  }
  return turn;
}

const isObject = (value) => value !== null && typeof value === "object" && !Array.isArray(value);
const isTime = (value) => Number.isFinite(value) && Math.abs(value) <= 8.64e15;
