"""Tool definitions and calls in the two forms that Qwen2 models were trained on.

`hermes`, of Qwen2.5: definitions as JSON lines in the system turn, calls as JSON between the
control tokens `<tool_call>` and `</tool_call>`, results in a user turn.  Its text is that of the
published chat template.

`qwen2`, of Qwen2: definitions in Markdown, calls and results as lines that begin with a word
between flowers, all in one assistant turn.  Its text is that of Qwen-Agent's
`llm/fncall_prompts/qwen_fncall_prompt.py`.

Each function returns the texts that a renderer writes; what a model wrote is read back by
`tool_stream.py`.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from tongwen.errors import TokenizerError
from tongwen.tokenizer.messages import ToolCall, dump_json

ToolForm = Literal["hermes", "qwen2"]

HERMES_BEFORE = (
    "\n\n# Tools\n\nYou may call one or more functions to assist with the user query.\n\nYou are "
    "provided with function signatures within <tools></tools> XML tags:\n<tools>"
)
"""What stands between the system text and the definitions, one per line."""

HERMES_AFTER = (
    "\n</tools>\n\nFor each function call, return a json object with function name and arguments "
    "within <tool_call></tool_call> XML tags:\n<tool_call>\n"
    '{"name": <function-name>, "arguments": <args-json-object>}\n</tool_call>'
)
"""What follows the definitions."""

FUNCTION, ARGS, RESULT, RETURN = "✿FUNCTION✿", "✿ARGS✿", "✿RESULT✿", "✿RETURN✿"

_WORDS: Mapping[str, Mapping[str, str]] = {
    "en": {
        "head": "# Tools\n\n## You have access to the following tools:",
        "parameters": "Parameters",
        "json": "Format the arguments as a JSON object.",
        "code": (
            "Enclose the code within triple backticks (`) at the beginning and end of the code."
        ),
        "one": (
            "## When you need to call a tool, please insert the following command in your reply, "
            "which can be called zero or multiple times according to your needs:\n\n"
            f"{FUNCTION}: The tool to use, should be one of [%s]\n"
            f"{ARGS}: The input of the tool\n{RESULT}: Tool results\n"
            f"{RETURN}: Reply based on tool results. Images need to be rendered as ![](url)"
        ),
        "parallel": (
            "## Insert the following command in your reply when you need to call N tools in "
            "parallel:\n\n"
            f"{FUNCTION}: The name of tool 1, should be one of [%s]\n{ARGS}: The input of tool 1\n"
            f"{FUNCTION}: The name of tool 2\n{ARGS}: The input of tool 2\n...\n"
            f"{FUNCTION}: The name of tool N\n{ARGS}: The input of tool N\n"
            f"{RESULT}: The result of tool 1\n{RESULT}: The result of tool 2\n...\n"
            f"{RESULT}: The result of tool N\n"
            f"{RETURN}: Reply based on tool results. Images need to be rendered as ![](url)"
        ),
    },
    "zh": {
        "head": "# 工具\n\n## 你拥有如下工具：",
        "parameters": "输入参数",
        "json": "此工具的输入应为JSON对象。",
        "code": "此工具的输入应为Markdown代码块。",
        "one": (
            "## 你可以在回复中插入零次、一次或多次以下命令以调用工具：\n\n"
            f"{FUNCTION}: 工具名称，必须是[%s]之一。\n{ARGS}: 工具输入\n{RESULT}: 工具结果\n"
            f"{RETURN}: 根据工具结果进行回复，需将图片用![](url)渲染出来"
        ),
        "parallel": (
            "## 你可以在回复中插入以下命令以并行调用N个工具：\n\n"
            f"{FUNCTION}: 工具1的名称，必须是[%s]之一\n{ARGS}: 工具1的输入\n"
            f"{FUNCTION}: 工具2的名称\n{ARGS}: 工具2的输入\n...\n"
            f"{FUNCTION}: 工具N的名称\n{ARGS}: 工具N的输入\n"
            f"{RESULT}: 工具1的结果\n{RESULT}: 工具2的结果\n...\n{RESULT}: 工具N的结果\n"
            f"{RETURN}: 根据工具结果进行回复，需将图片用![](url)渲染出来"
        ),
    },
}
_COLON = {"en": ": ", "zh": "："}


def hermes_call(call: ToolCall) -> tuple[str, str, str]:
    """One call as markup, text of the call, markup.

    Raises:
        TokenizerError: The arguments are no JSON; the form prints them as the JSON that they are.
    """
    try:
        arguments = json.loads(call.arguments or "{}")
    except (ValueError, RecursionError) as error:
        raise TokenizerError(
            f"arguments of the call of `{call.name}` are no JSON: {error}"
        ) from error
    text = f'\n{{"name": "{call.name}", "arguments": {dump_json(arguments)}}}\n'
    return "<tool_call>", text, "</tool_call>"


def qwen2_section(tools: Sequence[Mapping[str, Any]], *, chinese: bool, parallel: bool) -> str:
    """The definitions and rules that end the system turn, or are it."""
    lang = "zh" if chinese else "en"
    words = _WORDS[lang]
    functions = [tool["function"] for tool in tools]
    names = ",".join(function["name"] for function in functions)
    rules = words["parallel" if parallel else "one"].replace("%s", names)
    return "\n\n".join([words["head"], *(_describe(each, lang) for each in functions), rules])


def qwen2_call(call: ToolCall) -> str:
    """One call as text; a code snippet begins on a line of its own."""
    snippet = "\n" if call.arguments.startswith("```") else ""
    return f"{FUNCTION}: {call.name}\n{ARGS}: {snippet}{call.arguments}"


def _describe(function: Mapping[str, Any], lang: str) -> str:
    words, name = _WORDS[lang], function["name"]
    style = words["code" if name == "code_interpreter" else "json"]
    parameters = dump_json(function.get("parameters", {}))
    says = f"{name}: {function.get('description', '')}"
    return f"### {name}\n\n{says} {words['parameters']}{_COLON[lang]}{parameters} {style}".rstrip()
