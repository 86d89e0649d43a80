"""The control tokens of Qwen2 and Qwen2.5: ids, meaning, and who may write each.

A user never may: text is encoded with control tokens disabled.  The Qwen2 Technical Report,
section 2.1, names 3; the vocabulary files of Qwen2.5 add 19 more, of which 8 are flagged as
ordinary text to a reader (`special` false).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Flag, auto

from tongwen.tokenizer.bpe import Tokenizer


class Writer(Flag):
    """Who may put a control token into a stream of ids."""

    RENDERER = auto()
    """A chat format, between the turns of a conversation."""

    MODEL = auto()
    """The model, in what it generates."""

    TOOLS = auto()
    """A chat format, around tool definitions and calls."""

    FIM = auto()
    """A caller who asks for the middle of a file."""

    NOBODY = auto()
    """Reserved by the vocabulary, for images say, which this system does not read."""


@dataclass(frozen=True, slots=True)
class ControlToken:
    """One control token."""

    text: str
    """How it is spelled in the vocabulary's files."""

    token_id: int
    """Its id in the published Qwen2 and Qwen2.5 vocabularies."""

    meaning: str
    """What it says to the model."""

    writers: Writer
    """Who may write it."""

    special: bool = True
    """Whether a reader of the decoded text does without it."""


_TURN = Writer.RENDERER | Writer.MODEL
_CALL = Writer.TOOLS | Writer.MODEL
_FILE = Writer.FIM | Writer.MODEL

QWEN2 = (
    ControlToken("<|endoftext|>", 151643, "end of a document; padding", _TURN),
    ControlToken("<|im_start|>", 151644, "start of a turn, the role follows", Writer.RENDERER),
    ControlToken("<|im_end|>", 151645, "end of a turn", _TURN),
)
"""The three of Qwen2."""

QWEN2_5 = (
    *QWEN2,
    ControlToken("<|object_ref_start|>", 151646, "start of an object's name", Writer.NOBODY),
    ControlToken("<|object_ref_end|>", 151647, "end of an object's name", Writer.NOBODY),
    ControlToken("<|box_start|>", 151648, "start of a bounding box", Writer.NOBODY),
    ControlToken("<|box_end|>", 151649, "end of a bounding box", Writer.NOBODY),
    ControlToken("<|quad_start|>", 151650, "start of a quadrilateral", Writer.NOBODY),
    ControlToken("<|quad_end|>", 151651, "end of a quadrilateral", Writer.NOBODY),
    ControlToken("<|vision_start|>", 151652, "start of an image or video", Writer.NOBODY),
    ControlToken("<|vision_end|>", 151653, "end of an image or video", Writer.NOBODY),
    ControlToken("<|vision_pad|>", 151654, "place of a visual feature", Writer.NOBODY),
    ControlToken("<|image_pad|>", 151655, "place of an image feature", Writer.NOBODY),
    ControlToken("<|video_pad|>", 151656, "place of a video feature", Writer.NOBODY),
    ControlToken("<tool_call>", 151657, "start of a tool call", _CALL, special=False),
    ControlToken("</tool_call>", 151658, "end of a tool call", _CALL, special=False),
    ControlToken(
        "<|fim_prefix|>", 151659, "text before the gap follows", Writer.FIM, special=False
    ),
    ControlToken("<|fim_middle|>", 151660, "write the gap now", Writer.FIM, special=False),
    ControlToken("<|fim_suffix|>", 151661, "text after the gap follows", Writer.FIM, special=False),
    ControlToken("<|fim_pad|>", 151662, "end of a filled gap", _FILE, special=False),
    ControlToken("<|repo_name|>", 151663, "name of a repository follows", _FILE, special=False),
    ControlToken("<|file_sep|>", 151664, "path of the next file follows", _FILE, special=False),
)
"""Those of Qwen2.5 and its Coder and Math kin: Qwen2's three and 19 more."""

REASONING = ("<think>", "</think>")
"""Tags that reasoning models (QwQ, R1-Distill) write around their thoughts; their ids differ."""

_BY_TEXT: Mapping[str, ControlToken] = {token.text: token for token in QWEN2_5}


def control_ids(tokens: tuple[ControlToken, ...]) -> dict[str, int]:
    """The `control` argument of a `Tokenizer`, from a table such as `QWEN2`."""
    return {token.text: token.token_id for token in tokens}


def is_special(text: str, *, otherwise: bool) -> bool:
    """Whether the published files flag this control token special; `otherwise` if not theirs."""
    return _BY_TEXT[text].special if text in _BY_TEXT else otherwise


def family(tokenizer: Tokenizer) -> str | None:
    """`qwen2.5` or `qwen2` where the control tokens are exactly theirs, else `None`.

    Qwen1.5 and Qwen2 share a vocabulary, as do Qwen2.5, its Coder and its Math models, and a base
    model has that of its instruct sibling: this alone never chooses a chat format.
    """
    if tokenizer.control == control_ids(QWEN2_5):
        return "qwen2.5"
    if tokenizer.control == control_ids(QWEN2):
        return "qwen2"
    return None
