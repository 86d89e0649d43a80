from pathlib import Path

import pytest

from tongwen.checkpoint.model_names import folder_model, model_folder, nearest, parse_name
from tongwen.checkpoint.offers import DEFAULT_TAGS, offers
from tongwen.errors import ModelNotFoundError


@pytest.mark.parametrize(
    ("typed", "canonical"),
    [
        ("qwen2:0.5b", "qwen2:0.5b"),
        ("QWEN2:0.5B", "qwen2:0.5b"),
        (" qwen2 ", "qwen2:7b"),
        ("qwen2:latest", "qwen2:7b"),
        ("qwq", "qwq:32b"),
        ("qwen1.5", "qwen1.5:4b"),
        ("qwen2:0.5b-instruct-q8_0", "qwen2:0.5b-q8_0"),
        ("qwen2:0.5b-q4_K_M", "qwen2:0.5b"),
        ("qwen2:57b-a14b-gptq-int4", "qwen2:57b-a14b-gptq-int4"),
    ],
)
def test_a_table_name_is_found_however_it_is_spelled(typed: str, canonical: str) -> None:
    name = parse_name(typed)
    assert (name.kind, name.text) == ("table", canonical)
    assert name.offer is offers()[canonical] or name.offer == offers()[canonical]


def test_a_bare_tag_is_the_instruct_model_as_q4_k_m() -> None:
    name = parse_name("qwen2:7b")
    assert (name.repo, name.gguf_type) == ("Qwen/Qwen2-7B-Instruct-GGUF", "q4_k_m")


@pytest.mark.parametrize(
    ("text", "repo", "gguf_type"),
    [
        ("qwen2:0.5b-bf16", "Qwen/Qwen2-0.5B-Instruct", None),
        ("qwen2:0.5b-base", "Qwen/Qwen2-0.5B", None),
        ("qwen2:0.5b-q5_k_m", "Qwen/Qwen2-0.5B-Instruct-GGUF", "q5_k_m"),
        ("qwen2:0.5b-gptq-int4", "Qwen/Qwen2-0.5B-Instruct-GPTQ-Int4", None),
        ("qwen2:0.5b-gptq-int8", "Qwen/Qwen2-0.5B-Instruct-GPTQ-Int8", None),
        ("qwen2:0.5b-awq", "Qwen/Qwen2-0.5B-Instruct-AWQ", None),
        ("qwen1.5:14b", "Qwen/Qwen1.5-14B-Chat-GGUF", "q4_k_m"),
        ("qwen2-math:7b", "Qwen/Qwen2-Math-7B-Instruct", None),
        ("qwq:32b", "Qwen/QwQ-32B-GGUF", "q4_k_m"),
        ("deepseek-r1-distill-qwen:7b", "deepseek-ai/DeepSeek-R1-Distill-Qwen-7B", None),
    ],
)
def test_a_suffix_names_the_repository(text: str, repo: str, gguf_type: str | None) -> None:
    name = parse_name(text)
    assert (name.repo, name.gguf_type) == (repo, gguf_type)


def test_what_has_no_published_gguf_says_so() -> None:
    assert "no Q4_K_M GGUF" in offers()["qwen2.5-math:7b"].note
    assert "qwen2.5-math:7b-q8_0" not in offers()
    assert "qwen2:57b-a14b-awq" not in offers()


@pytest.mark.parametrize(
    ("text", "licence"),
    [
        ("qwen2:7b", "Apache-2.0"),
        ("qwen2:72b", "Tongyi Qianwen"),
        ("qwen2-math:72b", "Tongyi Qianwen"),
        ("qwen2.5:3b", "Qwen Research"),
        ("qwen2.5:72b", "Qwen"),
    ],
)
def test_licences_are_those_of_the_model_cards(text: str, licence: str) -> None:
    assert parse_name(text).licence == licence


def test_every_name_of_the_table_parses_to_itself_and_to_a_folder_of_its_own() -> None:
    table = offers()
    assert {name: parse_name(name).text for name in table} == {name: name for name in table}
    folders = {parse_name(name).folder.casefold() for name in table}
    assert len(folders) == len(table)
    assert all(f"{family}:{tag}" in table for family, tag in DEFAULT_TAGS.items())


def test_estimated_sizes_lie_between_one_and_five_bytes_for_three_weights() -> None:
    for offer in offers().values():
        assert offer.num_parameters / 3 < offer.num_bytes < 2.1 * offer.num_parameters, offer.name


def test_the_two_pinned_models_lie_under_their_own_names_only() -> None:
    pinned = {name: offer.index for name, offer in offers().items() if offer.index}
    assert pinned.keys() == {"qwen2.5-coder:0.5b", "qwen2.5-coder:1.5b"}
    assert [len(parts.packages) for parts in pinned.values() if parts] == [6, 22]
    assert all(offers()[name].num_bytes == p.num_bytes for name, p in pinned.items() if p)


@pytest.mark.parametrize(
    ("text", "repo", "gguf_type", "canonical"),
    [
        ("Org/Repo", "Org/Repo", None, "Org/Repo"),
        ("Org/Repo:Q4_K_M", "Org/Repo", "q4_k_m", "Org/Repo:q4_k_m"),
        ("hf.co/Org/Re.po-1:Q8_0", "Org/Re.po-1", "q8_0", "Org/Re.po-1:q8_0"),
        ("https://huggingface.co/Org/Repo", "Org/Repo", None, "Org/Repo"),
    ],
)
def test_hub_ids_parse(text: str, repo: str, gguf_type: str | None, canonical: str) -> None:
    name = parse_name(text)
    assert (name.kind, name.repo, name.gguf_type) == ("hub", repo, gguf_type)
    assert name.text == canonical
    assert folder_model(name.folder) == canonical


def test_a_directory_and_a_gguf_are_taken_from_the_disk(tmp_path: Path) -> None:
    file = tmp_path / "model.GGUF"
    file.write_bytes(b"GGUF")
    assert parse_name(str(file)).kind == "gguf"
    assert parse_name(str(tmp_path)).kind == "directory"
    assert parse_name(str(tmp_path)).path == tmp_path


@pytest.mark.parametrize(
    "text",
    [
        "",
        "../../etc/passwd",
        "hf.co/../../etc",
        "Org/..",
        "Org/a..b",
        "Org/Re--po",
        "Org/Repo/more",
        "Org/Repo:../x",
        "a\0b/c",
        "Org/re|po",
        "con.x/y",
        "nowhere.gguf",
        "/no/such/directory",
        "qwen2:0.7b",
        "qwen9",
    ],
)
def test_what_is_no_name_is_refused_on_one_line(text: str) -> None:
    with pytest.raises(ModelNotFoundError) as caught:
        assert parse_name(text).folder
    assert "\n" not in str(caught.value)
    assert "\0" not in str(caught.value)


@pytest.mark.parametrize("name", ["..", "a/../b", "/a", "a\\b", "a\0", "nul", "com1.x", "a|b", ""])
def test_no_name_gets_a_folder_outside_the_store(name: str) -> None:
    with pytest.raises(ModelNotFoundError):
        model_folder(name)


def test_an_unknown_name_gets_the_nearest_ones() -> None:
    assert nearest("qwen2:0.6b")[0] == "qwen2:0.5b"
    assert "qwen2.5-coder:1.5b" in nearest("qwen2.5-code:1.5b")
    assert len(nearest("something else entirely")) == 3
    with pytest.raises(ModelNotFoundError, match=r"nearest names are .*`qwen2:0.5b`"):
        parse_name("qwen2:0.55b")
