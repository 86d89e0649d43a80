from tongwen.tokenizer.bpe import Tokenizer, byte_alphabet
from tongwen.tokenizer.special import QWEN2, QWEN2_5, Writer, control_ids, family, is_special

FILLER = list(byte_alphabet().values()) + [f"t{place}" for place in range(151643 - 256)]


def test_ids_follow_each_other_from_the_end_of_the_vocabulary() -> None:
    assert [token.token_id for token in QWEN2_5] == list(range(151643, 151665))
    assert QWEN2_5[: len(QWEN2)] == QWEN2
    assert len(QWEN2) == 3


def test_every_control_token_has_a_meaning_and_a_writer() -> None:
    for token in QWEN2_5:
        assert token.meaning
        assert token.writers


def test_turns_are_opened_by_the_renderer_alone() -> None:
    start = next(token for token in QWEN2 if token.text == "<|im_start|>")
    assert start.writers == Writer.RENDERER


def test_a_model_may_end_its_turn_and_call_tools() -> None:
    written = {token.text for token in QWEN2_5 if Writer.MODEL in token.writers}
    assert {"<|im_end|>", "<|endoftext|>", "<tool_call>", "</tool_call>"} <= written


def test_tool_markers_are_not_special() -> None:
    assert not is_special("<tool_call>", otherwise=True)
    assert is_special("<|im_end|>", otherwise=False)
    assert is_special("<|new|>", otherwise=True)


def test_families_are_told_by_their_control_tokens() -> None:
    def of(control: dict[str, int]) -> str | None:
        return family(Tokenizer.from_vocabulary(FILLER, [], control=control))

    assert of(control_ids(QWEN2)) == "qwen2"
    assert of(control_ids(QWEN2_5)) == "qwen2.5"
    assert of({"<|im_end|>": 151645}) is None
