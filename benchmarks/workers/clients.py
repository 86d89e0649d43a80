"""One client of somebody else's, asked to chat, to stream and to call a tool; runs where it lives.

    python clients.py litellm http://127.0.0.1:8000/v1 MODEL FOUND.json

Writes one JSON object: what each of the three gave, or the error that it ended in.  It imports
nothing of ours: `ecosystem.py` runs it in an environment that holds the client alone.
"""

import json
import sys
from collections.abc import Callable
from pathlib import Path

QUESTION = "What is 2+3? Answer with the number."
COUNT = "Count from 1 to 5, separated by commas."
ASK_TOOL = "What is the weather in Paris? Use the tool."
MOST = 64
Checks = dict[str, Callable[[], object]]


def weather(city: str) -> str:
    """Tell the weather in a city."""
    return f"It is sunny in {city}."


WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "Tell the weather in a city.",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}},
            "required": ["city"],
        },
    },
}


def _said(content: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": content}]


def langchain(url: str, model: str) -> Checks:
    """`ChatOpenAI`."""
    from langchain_core.tools import tool
    from langchain_openai import ChatOpenAI

    llm = ChatOpenAI(model=model, base_url=url, api_key="none", temperature=0, max_tokens=MOST)
    return {
        "chat": lambda: llm.invoke(QUESTION).content,
        "stream": lambda: [chunk.content for chunk in llm.stream(COUNT)],
        "tool": lambda: llm.bind_tools([tool(weather)]).invoke(ASK_TOOL).tool_calls[0]["args"],
    }


def litellm(url: str, model: str) -> Checks:
    """`completion` with the prefix `openai/`."""
    from litellm import completion

    how = {"model": f"openai/{model}", "api_base": url, "api_key": "none"}
    how |= {"temperature": 0, "max_tokens": MOST}

    def call() -> object:
        done = completion(messages=_said(ASK_TOOL), tools=[WEATHER], **how)
        return json.loads(done.choices[0].message.tool_calls[0].function.arguments)

    return {
        "chat": lambda: completion(messages=_said(QUESTION), **how).choices[0].message.content,
        "stream": lambda: [
            chunk.choices[0].delta.content
            for chunk in completion(messages=_said(COUNT), stream=True, **how)
        ],
        "tool": call,
    }


def llama_index(url: str, model: str) -> Checks:
    """`OpenAILike`."""
    from llama_index.core.llms import ChatMessage
    from llama_index.core.tools import FunctionTool
    from llama_index.llms.openai_like import OpenAILike

    llm = OpenAILike(
        model=model,
        api_base=url,
        api_key="none",
        is_chat_model=True,
        is_function_calling_model=True,
        context_window=4096,
        temperature=0,
        max_tokens=MOST,
    )

    def said(content: str) -> list[ChatMessage]:
        return [ChatMessage(role="user", content=content)]

    def call() -> object:
        done = llm.predict_and_call([FunctionTool.from_defaults(weather)], user_msg=ASK_TOOL)
        return done.sources[0].raw_input["kwargs"]

    return {
        "chat": lambda: llm.chat(said(QUESTION)).message.content,
        "stream": lambda: [chunk.delta for chunk in llm.stream_chat(said(COUNT))],
        "tool": call,
    }


def crewai(url: str, model: str) -> Checks:
    """Its own `LLM` with the prefix `openai/`; it calls the function by itself."""
    from crewai import LLM
    from crewai.events import crewai_event_bus
    from crewai.events.types.llm_events import LLMStreamChunkEvent

    how = {"model": f"openai/{model}", "base_url": url, "api_key": "none"}
    how |= {"temperature": 0, "max_tokens": MOST}
    called: dict[str, str] = {}

    def note(city: str) -> str:
        called["city"] = city
        return weather(city)

    def stream() -> list[str]:
        pieces: list[str] = []
        with crewai_event_bus.scoped_handlers():

            @crewai_event_bus.on(LLMStreamChunkEvent)
            def hear(source: object, event: LLMStreamChunkEvent) -> None:  # noqa: ARG001 - theirs
                pieces.append(event.chunk)

            LLM(**how, stream=True).call(COUNT)
            crewai_event_bus.flush()
        return pieces

    def call() -> object:
        LLM(**how).call(ASK_TOOL, tools=[WEATHER], available_functions={"weather": note})
        return called

    return {"chat": lambda: LLM(**how).call(QUESTION), "stream": stream, "tool": call}


def is_good(check: str, gave: object) -> bool:
    """Whether a client brought back what was asked for."""
    match check, gave:
        case "chat", str():
            return "5" in gave
        case "stream", list():
            pieces = [piece for piece in gave if piece]
            return len(pieces) > 4 and "1, 2, 3, 4, 5" in "".join(pieces)
        case "tool", {"city": str() as city}:
            return "Paris" in city
    return False


def run(check: str, ask: Callable[[], object]) -> dict[str, object]:
    """What it gave, whether that is right, and what it failed with."""
    try:
        gave = ask()
    except Exception as error:
        return {"ok": False, "gave": f"{type(error).__name__}: {error}"[:400]}
    return {"ok": is_good(check, gave), "gave": gave}


CLIENTS = {each.__name__: each for each in (langchain, litellm, llama_index, crewai)}


def main() -> None:
    """Ask; the answer goes into a file, for clients print as they like."""
    name, url, model, out = sys.argv[1:]
    found = {check: run(check, ask) for check, ask in CLIENTS[name](url, model).items()}
    Path(out).write_text(json.dumps(found), encoding="utf-8")


if __name__ == "__main__":
    main()
