// The server, asked by its OpenAI dialect.

import { apiKey } from "./preferences.js";
import { say } from "./words.js";

// What the server refused, or that it cannot be reached.
export class ServerError extends Error {
  constructor(message, status = 0) {
    super(message);
    this.status = status;
  }
}

// The models that can be asked: `{ id, context_length }`.
export async function listModels() {
  const response = await ask("/v1/models", {});
  try {
    return (await response.json()).data;
  } catch {
    throw new ServerError(say("badAnswer"));
  }
}

// The chunks of an answer, as they come; throws where the answer fails on the way.
export async function* streamChat(body, signal) {
  const response = await ask("/v1/chat/completions", {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ ...body, stream: true }),
    signal,
  });
  for await (const data of events(response.body)) {
    if (data === "[DONE]") return;
    const chunk = parse(data);
    if (chunk.error) throw new ServerError(chunk.error.message ?? say("badAnswer"));
    yield chunk;
  }
  throw new ServerError(say("brokenOff"));
}

async function ask(path, options) {
  const key = apiKey();
  const headers = { ...options.headers, ...(key ? { Authorization: `Bearer ${key}` } : {}) };
  let response;
  try {
    response = await fetch(path, { ...options, headers });
  } catch (error) {
    throw error.name === "AbortError" ? error : new ServerError(say("unreachable"));
  }
  if (!response.ok) throw await refusal(response);
  return response;
}

async function refusal(response) {
  let message = say("status", response.status);
  try {
    message = (await response.json()).error.message ?? message;
  } catch {
    // Somebody between us and the server answered: the status is all there is to tell.
  }
  const wait = response.headers.get("Retry-After");
  if (/^\d+$/.test(wait ?? "")) message += ` ${say("retryIn", wait)}`;
  return new ServerError(message, response.status);
}

function parse(data) {
  try {
    return JSON.parse(data);
  } catch {
    throw new ServerError(say("badAnswer"));
  }
}

// The data of server-sent events, however the bytes are cut into parts.
export async function* events(stream) {
  const reader = stream.getReader();
  const decoder = new TextDecoder();
  let rest = "";
  let data = [];
  try {
    for (;;) {
      const { value, done } = await read(reader);
      rest += done ? decoder.decode() + "\n\n" : decoder.decode(value, { stream: true });
      // A carriage return at the end may be half of a line's end.
      const lines = rest.split(/\r\n|\n|\r(?!$)/);
      rest = lines.pop();
      for (const line of lines) {
        if (line.startsWith("data:")) data.push(line.slice(5).replace(/^ /, ""));
        else if (line === "" && data.length) {
          yield data.join("\n");
          data = [];
        }
      }
      if (done) return;
    }
  } finally {
    reader.cancel().catch(() => {}); // whoever reads no more; an end already reached is no fault
  }
}

async function read(reader) {
  try {
    return await reader.read();
  } catch (error) {
    throw error.name === "AbortError" ? error : new ServerError(say("brokenOff"));
  }
}
