"""Make `answers.json`: what the real 0.5B writes, greedily, when it is given tools.

    python tests/tokenizer/make_answers.py

The model is Qwen2.5-Coder-0.5B-Instruct, `qwen2.5-coder:0.5b`.
"""

import json
from pathlib import Path
from typing import Any

from tongwen import LLM, SamplingParams
from tongwen.tokenizer.chat import FAMILIES, ChatML

ASKED = [
    "What is the weather in Paris over the next 3 days?",
    "What is the weather in Paris and in Tokyo tomorrow? Call the tool for both.",
    "Search for the newest book about Ada Lovelace.",
    "Use run_python to print the first ten primes.",
    "Mail ada@example.org and bob@example.org that the meeting is at five, "
    "with a short polite body in three lines.",
    "查询北京和上海三天的天气。",
    "What is 2+2? Do not use any tool.",
    "Run this code: print(\"</tool_call>\\n\" + 'x')",
]
FAMILY = {"hermes": "qwen2.5-coder", "qwen2": "qwen2"}


def tool(name: str, description: str, properties: dict[str, Any]) -> dict[str, Any]:
    parameters = {"type": "object", "properties": properties, "required": list(properties)}
    function = {"name": name, "description": description, "parameters": parameters}
    return {"type": "function", "function": function}


TEXT = {"type": "string"}
TOOLS = [
    tool(
        "get_weather",
        "Weather of a city for some days.",
        {"city": TEXT, "days": {"type": "integer"}},
    ),
    tool("search", "Search the web.", {"query": TEXT}),
    tool("run_python", "Run Python code and return its output.", {"code": TEXT}),
    tool(
        "send_mail",
        "Send a mail.",
        {"to": {"type": "array", "items": TEXT}, "subject": TEXT, "body": TEXT},
    ),
]


def main() -> None:
    llm = LLM("qwen2.5-coder:0.5b", context=4096)
    answers = []
    for asked in ASKED:
        for form, family in FAMILY.items():
            chat = ChatML(llm.tokenizer, FAMILIES[family])
            prompt = chat.render([{"role": "user", "content": asked}], tools=TOOLS).token_ids
            params = SamplingParams(
                temperature=0, repetition_penalty=1.0, max_tokens=110, stop=chat.stop_strings
            )
            (done,) = llm.generate([prompt], params)
            answers.append({"form": form, "asked": asked, "text": done.text})
    path = Path(__file__).parent / "answers.json"
    path.write_text(json.dumps(answers, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
