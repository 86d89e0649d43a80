"""What a caller may ask for, and what is made of it."""

from dataclasses import dataclass

import pytest

from tongwen.engine.params import SamplingParams, params_from
from tongwen.errors import RequestError


@dataclass(frozen=True)
class Recommended:
    do_sample: bool = True
    temperature: float = 0.7
    top_p: float = 0.8
    top_k: int | None = 20
    repetition_penalty: float = 1.1


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("temperature", -0.1),
        ("temperature", float("nan")),
        ("temperature", float("inf")),
        ("top_p", 1.01),
        ("top_p", -0.01),
        ("top_k", -1),
        ("min_p", 1.5),
        ("presence_penalty", 2.5),
        ("frequency_penalty", -2.5),
        ("repetition_penalty", 0.0),
        ("repetition_penalty", -1.0),
        ("seed", 2**63),
        ("max_tokens", -1),
        ("min_tokens", -1),
        ("typical_p", 0.0),
        ("typical_p", 1.1),
        ("prompt_logprobs", 101),
        ("n", 0),
        ("n", 129),
        ("best_of", 0),
        ("logprobs", 101),
        ("logprobs", -1),
    ],
)
def test_a_value_out_of_range_is_refused_by_name(name: str, value: float) -> None:
    with pytest.raises(RequestError, match=f"`{name}`.*{value}"):
        params_from({name: value})


@pytest.mark.parametrize("stop", ["", [""], ["a", ""]])
def test_an_empty_stop_string_is_refused(stop: str | list[str]) -> None:
    with pytest.raises(RequestError, match="empty string"):
        SamplingParams(stop=stop)


def test_one_stop_string_is_not_a_list_of_letters() -> None:
    assert SamplingParams(stop="abc").stop_strings == ("abc",)
    assert SamplingParams(stop=["a", "b"]).stop_strings == ("a", "b")
    assert SamplingParams().stop_strings == ()


def test_what_is_not_asked_for_is_the_checkpoints_own() -> None:
    sampling = SamplingParams().resolve(Recommended(), seed=5)
    assert (sampling.temperature, sampling.top_p, sampling.top_k) == (0.7, 0.8, 20)
    assert (sampling.repetition_penalty, sampling.seed) == (1.1, 5)
    assert (sampling.min_p, sampling.presence_penalty, sampling.frequency_penalty) == (0, 0, 0)


def test_what_is_asked_for_holds_even_where_it_is_zero() -> None:
    asked = SamplingParams(temperature=0, top_p=0, top_k=0, repetition_penalty=1.0, seed=0)
    sampling = asked.resolve(Recommended(), seed=5)
    assert (sampling.temperature, sampling.top_p, sampling.top_k) == (0, 0, 0)
    assert (sampling.repetition_penalty, sampling.seed) == (1.0, 0)
    assert not sampling.penalizes


def test_a_checkpoint_that_does_not_sample_is_greedy_unless_asked() -> None:
    recommended = Recommended(do_sample=False, top_k=None)
    sampling = SamplingParams().resolve(recommended, seed=5)
    assert (sampling.temperature, sampling.top_k) == (0, 0)
    assert SamplingParams(temperature=0.5).resolve(recommended, seed=5).temperature == 0.5


@pytest.mark.parametrize("name", ["repetition_penalty", "presence_penalty", "frequency_penalty"])
def test_any_penalty_penalizes(name: str) -> None:
    asked = params_from({"repetition_penalty": 1.0, name: 1.5})
    assert asked.resolve(Recommended(), seed=0).penalizes


def test_an_unknown_parameter_is_refused_with_the_known_ones() -> None:
    with pytest.raises(RequestError, match=r"`temprature`.*'temperature'"):
        params_from({"temprature": 1.0})


def test_nothing_to_write_is_a_wish_like_any_other() -> None:
    assert SamplingParams(max_tokens=0).max_tokens == 0


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"min_tokens": 5, "max_tokens": 4}, r"`min_tokens` \(5\) is above `max_tokens` \(4\)"),
        ({"n": 3, "best_of": 2}, r"`best_of` \(2\) is below `n` \(3\)"),
        ({"n": 2, "temperature": 0}, "the same completion 2 times"),
        ({"best_of": 4, "temperature": 0}, "the same completion 4 times"),
        ({"allowed_token_ids": [1, 2], "bad_token_ids": [2, 1]}, "leaves no token"),
        ({"allowed_token_ids": []}, "leaves no token"),
        ({"logit_bias": {7: 101}}, "token 7 must lie between -100 and 100, not 101"),
        ({"logit_bias": {7: float("nan")}}, "token 7 must lie between -100 and 100, not nan"),
    ],
)
def test_contradictions_are_refused_with_the_numbers(asked: dict[str, object], said: str) -> None:
    with pytest.raises(RequestError, match=said):
        params_from(asked)
