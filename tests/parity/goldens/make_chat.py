"""Print `conversations.json` through published Jinja templates; keep the digests of the texts.

    python tests/parity/goldens/make_chat.py TEMPLATES

TEMPLATES holds the sources, as llama.cpp carries them in `models/templates` (they are not ours to
keep).  transformers prints; `chat.json` maps template, then conversation, to a SHA-256.  A template
that refuses a conversation has no entry for it.
"""

import hashlib
import json
import sys
from pathlib import Path

from jinja2 import TemplateError
from transformers.utils.chat_template_utils import render_jinja_template

TEMPLATES = {"qwen2.5": "Qwen-Qwen2.5-7B-Instruct.jinja"}
HERE = Path(__file__).parent


def main(templates: Path) -> None:
    """Write `chat.json`."""
    conversations = json.loads((HERE / "conversations.json").read_text(encoding="utf-8"))
    goldens: dict[str, dict[str, str]] = {}
    for name, file in TEMPLATES.items():
        source = (templates / file).read_text(encoding="utf-8")
        goldens[name] = {}
        for conversation in conversations:
            try:
                [text], _ = render_jinja_template(
                    [conversation["messages"]],
                    tools=conversation.get("tools"),
                    chat_template=source,
                    add_generation_prompt=conversation.get("add_generation_prompt", True),
                )
            except TemplateError:
                continue
            goldens[name][conversation["name"]] = hashlib.sha256(text.encode()).hexdigest()
    (HERE / "chat.json").write_text(json.dumps(goldens, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
