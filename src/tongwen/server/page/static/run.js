// One answer in the making.

import { messagesOf } from "./conversation.js";
import { ServerError, streamChat } from "./server.js";

// Has a conversation answered: `turn` grows and `changed` is called for each piece.
export class Run {
  #abort = new AbortController();

  constructor(conversation, turn, changed) {
    this.conversation = conversation;
    this.turn = turn;
    this.changed = changed;
  }

  stop() {
    this.#abort.abort();
  }

  // Until the answer ends, however it does; the error of a refusal, if there was one.
  async finish() {
    const clock = new Clock(this.turn);
    this.turn.finish = "open";
    delete this.turn.error;
    try {
      for await (const chunk of streamChat(this.#body(), this.#abort.signal)) {
        this.#take(chunk, clock);
      }
      if (this.turn.finish === "open") this.turn.finish = "stop";
    } catch (error) {
      return this.#fail(error);
    }
    return null;
  }

  #body() {
    const { model, sampling, turns } = this.conversation;
    const body = {
      model,
      messages: messagesOf(this.conversation),
      ...sampling,
      stream_options: { include_usage: true, continuous_usage_stats: true },
    };
    const goesOn = turns.at(-1) === this.turn && this.turn.content !== "";
    return goesOn ? { ...body, continue_final_message: true } : body;
  }

  #take(chunk, clock) {
    const choice = chunk.choices?.[0];
    const text = choice?.delta?.content ?? "";
    if (text) clock.tick();
    if (chunk.usage) clock.count(chunk.usage.completion_tokens);
    this.turn.content += text;
    if (choice?.finish_reason) this.turn.finish = choice.finish_reason;
    if (text) this.changed(this);
  }

  #fail(error) {
    const isStop = error.name === "AbortError";
    if (!isStop && !(error instanceof ServerError)) reportError(error);
    this.turn.finish = isStop ? "stopped" : "error";
    if (!isStop) this.turn.error = error.message;
    return isStop ? null : error;
  }
}

// Notes in a turn the seconds to its first token, its tokens, and tokens a second after the first.
class Clock {
  #begun = performance.now();
  #first = null;

  constructor(turn) {
    this.turn = turn;
    for (const name of ["tokens", "speed", "first"]) delete turn[name];
  }

  tick() {
    if (this.#first !== null) return;
    this.#first = performance.now();
    this.turn.first = (this.#first - this.#begun) / 1e3;
  }

  count(tokens) {
    this.turn.tokens = tokens;
    const seconds = this.#first === null ? 0 : (performance.now() - this.#first) / 1e3;
    if (tokens > 1 && seconds > 0) this.turn.speed = (tokens - 1) / seconds;
  }
}
