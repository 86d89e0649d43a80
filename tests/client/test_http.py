"""What a client makes of an endpoint that fails, breaks off, or speaks nonsense."""

import asyncio
import contextlib
import email.utils
import itertools
import time
from collections.abc import Sequence

import pytest
from tests.client.standin import DROPPED, answered, piece, standing_in, streamed, text

from tongwen.client.address import base_of
from tongwen.client.client import Part, Prompt
from tongwen.client.http import HttpClient, Retries
from tongwen.engine.params import SamplingParams
from tongwen.errors import (
    BusyError,
    ModelNotFoundError,
    RequestError,
    SourceError,
    TongwenError,
)

QUICK = Retries(most=3, first_wait_s=0.01, longest_wait_s=2.0)
PARAMS = SamplingParams(temperature=0, max_tokens=8)
KEY = "sk-a-very-secret-key"
GOOD = answered(200, text())
HTML = b"<html><body><h1>502 Bad Gateway</h1></body></html>"
BUSY = answered(429, {"error": {"message": "slow down"}})
WHOLE = streamed(piece("ye"), piece("s", "stop"), b"[DONE]")


def client_of(url: str, **options: object) -> HttpClient:
    return HttpClient(url, "m", api_key=KEY, **{"retries": QUICK, **options})  # type: ignore[arg-type]


def asked(client: HttpClient, prompt: Prompt = "hi", params: SamplingParams = PARAMS) -> str:
    async def run() -> str:
        try:
            return (await client.ask(prompt, params))[0].text
        finally:
            await client.close()

    return asyncio.run(run())


def streamed_parts(client: HttpClient, seen: list[Part] | None = None) -> Sequence[Part]:
    found = [] if seen is None else seen

    async def run() -> None:
        try:
            async with contextlib.aclosing(client.stream("hi", PARAMS)) as parts:
                async for part in parts:
                    found.append(part)
        finally:
            await client.close()

    asyncio.run(run())
    return found


PASSING = {
    "429": BUSY,
    "503": answered(503, {"error": {"message": "loading"}}),
    "500": answered(500, b""),
    "dropped": DROPPED,
    "html of a proxy": answered(502, HTML, "text/html"),
    "cut body": GOOD[:-10],
    "no http": b"SSH-2.0-OpenSSH\r\n",
    "error with a status in a 200": answered(200, {"error": {"code": 429, "message": "slow"}}),
}


@pytest.mark.parametrize("name", PASSING)
def test_what_passes_is_tried_again(name: str) -> None:
    with standing_in(PASSING[name], PASSING[name], GOOD) as end:
        assert asked(client_of(end.url)) == "yes"
        assert len(end.heads) == 3
        assert end.bodies[0] == end.bodies[2]


@pytest.mark.parametrize("name", [name for name in PASSING if name != "cut body"])
def test_a_stream_that_has_not_begun_is_tried_again(name: str) -> None:
    with standing_in(PASSING[name], PASSING[name], WHOLE) as end:
        parts = streamed_parts(client_of(end.url))
        assert "".join(part.text for part in parts) == "yes"
        assert len(end.heads) == 3


@pytest.mark.parametrize(
    ("answer", "kind", "said"),
    [
        (BUSY, BusyError, "answers 429: slow down"),
        (answered(503, b""), BusyError, "answers 503: nothing"),
        (answered(502, HTML, "text/html"), SourceError, "answers 502: <html>"),
        (DROPPED, SourceError, "does not answer: "),
    ],
)
def test_in_the_end_it_gives_up_with_one_clear_error(
    answer: bytes, kind: type[TongwenError], said: str
) -> None:
    with standing_in(answer) as end:
        for ask in (asked, streamed_parts):
            end.heads.clear()
            with pytest.raises(kind) as given_up:
                ask(client_of(end.url))
            assert len(end.heads) == 1 + QUICK.most
            assert said in given_up.value.message
            assert end.url in given_up.value.message
            assert "\n" not in given_up.value.message


@pytest.mark.parametrize(
    ("answer", "kind", "said"),
    [
        (answered(400, {"error": {"message": "no `top_q`"}}), RequestError, "no `top_q`"),
        (answered(401, {"error": "who?"}), RequestError, "answers 401: who?"),
        (answered(404, {"detail": "Not Found"}), ModelNotFoundError, "Not Found"),
        (answered(422, {"message": "odd"}), RequestError, "answers 422: odd"),
        (answered(302, b"", Location="http://127.0.0.1:9/"), RequestError, "answers 302"),
        (answered(200, b"{nonsense"), SourceError, "does not speak OpenAI's dialect: {nonsense"),
        (answered(200, HTML, "text/html"), SourceError, "does not speak OpenAI's dialect: <html>"),
        (answered(200, b"[]"), SourceError, "does not speak OpenAI's dialect"),
        (answered(200, {"choices": "many"}), SourceError, "does not speak OpenAI's dialect"),
        (answered(200, {"choices": [{}]}), SourceError, "does not speak OpenAI's dialect"),
        (answered(200, {"choices": []}), SourceError, "gives 0 completions, asked for 1"),
        (answered(200, {"error": {"message": "bad", "code": 400}}), RequestError, "bad"),
    ],
)
def test_what_does_not_pass_is_asked_once(
    answer: bytes, kind: type[TongwenError], said: str
) -> None:
    with standing_in(answer) as end:
        with pytest.raises(kind) as refused:
            asked(client_of(end.url))
        assert type(refused.value) is kind
        assert said in refused.value.message
        assert len(end.heads) == 1


def test_an_endpoint_that_is_not_there_is_said_to_be_so() -> None:
    with pytest.raises(SourceError, match=r"`http://127\.0\.0\.1:9/v1` does not answer") as absent:
        asked(client_of("http://127.0.0.1:9"))
    assert absent.value.hint is not None
    assert "tongwen ps" in absent.value.hint


def test_a_silent_endpoint_is_given_up_in_time() -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        client = client_of(url, timeout_s=0.1, retries=Retries(most=1, first_wait_s=0.01))
        started = time.monotonic()
        with pytest.raises(SourceError, match="does not answer: ReadTimeout"):
            asked(client)
        assert time.monotonic() - started < 5


# ---- Retry-After


@pytest.mark.parametrize("stated", ["0.3", "date"])
def test_retry_after_is_waited_for(stated: str) -> None:
    if stated == "date":
        stated = email.utils.formatdate(time.time() + 1.5, usegmt=True)
    with standing_in(answered(429, b"", Retry_After=stated), GOOD) as end:
        started = time.monotonic()
        assert asked(client_of(end.url)) == "yes"
        assert 0.25 < time.monotonic() - started < 2.5


@pytest.mark.parametrize("stated", ["3600", "999999999"])
def test_an_endpoint_that_asks_to_wait_too_long_is_given_up_at_once(stated: str) -> None:
    with standing_in(answered(503, b"", Retry_After=stated)) as end:
        with pytest.raises(BusyError):
            asked(client_of(end.url))
        assert len(end.heads) == 1


@pytest.mark.parametrize("stated", ["soon", "-1", "nan", "inf", "1e400", "²"])
def test_a_retry_after_that_says_nothing_is_not_believed(stated: str) -> None:
    answer = answered(503, b"", Retry_After=stated)
    with standing_in(answer, GOOD) as end:
        started = time.monotonic()
        assert asked(client_of(end.url)) == "yes"
        assert time.monotonic() - started < 1


# ---- streams


def test_an_error_inside_a_stream_is_raised_after_what_came_before() -> None:
    error = {"error": {"message": "out of memory", "type": "server_error"}}
    with standing_in(streamed(piece("ye"), error)) as end:
        seen: list[Part] = []
        with pytest.raises(SourceError, match="out of memory"):
            streamed_parts(client_of(end.url), seen)
        assert [part.text for part in seen] == ["ye"]
        assert len(end.heads) == 1


@pytest.mark.parametrize(
    "answer",
    [
        streamed(piece("ye"), is_cut=True),
        streamed(piece("ye")),
        streamed(piece("ye"), b"[DONE]"),
    ],
    ids=["cut", "no end", "no reason"],
)
def test_a_stream_that_breaks_off_is_an_error_and_not_a_shorter_answer(answer: bytes) -> None:
    with standing_in(answer) as end:
        seen: list[Part] = []
        with pytest.raises(SourceError, match=r"broke off after 2 char|does not answer: "):
            streamed_parts(client_of(end.url), seen)
        assert [part.text for part in seen] == ["ye"]
        assert len(end.heads) == 1


@pytest.mark.parametrize("event", [b"{nonsense", b"[1]", b'{"choices":[7]}'])
def test_nonsense_in_a_stream_is_said(event: bytes) -> None:
    with (
        standing_in(streamed(event)) as end,
        pytest.raises(SourceError, match="does not speak OpenAI's dialect"),
    ):
        streamed_parts(client_of(end.url))


@pytest.mark.parametrize(
    ("answer", "kind"),
    [(GOOD, SourceError), (answered(200, {"error": {"message": "x", "code": 400}}), RequestError)],
)
def test_an_answer_that_is_no_stream_is_not_taken_for_one(
    answer: bytes, kind: type[TongwenError]
) -> None:
    with standing_in(answer) as end, pytest.raises(kind):
        streamed_parts(client_of(end.url))


def test_every_line_break_of_unicode_may_stand_in_a_piece() -> None:
    said = "a\u2028b\u2029c\x85d\x0be\x0cf\x1cg"
    with standing_in(streamed(piece(said, "stop"))) as end:
        assert streamed_parts(client_of(end.url))[0].text == said


def test_without_usage_and_ids_nothing_is_made_up() -> None:
    with standing_in(WHOLE) as end:
        reply = streamed_parts(client_of(end.url))[-1].reply
    assert reply is not None
    assert (reply.text, reply.finish_reason) == ("yes", "stop")
    assert reply.token_ids is reply.logprobs is reply.prompt_tokens is reply.completion_tokens


def test_ids_of_a_stream_are_gathered() -> None:
    events = ({**piece("a")["choices"][0], "token_ids": ids} for ids in ([4], [], [5, 6]))
    chunks = [{"choices": [each]} for each in events]
    usage = {"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 4}}
    with standing_in(streamed(*chunks, piece("", "length"), usage)) as end:
        reply = streamed_parts(client_of(end.url))[-1].reply
    assert reply is not None
    assert reply.token_ids == [4, 5, 6]
    assert (reply.prompt_tokens, reply.completion_tokens) == (3, 4)


# ---- scores


@pytest.mark.parametrize(
    "choice",
    [
        {"logprobs": None},
        {"logprobs": {"token_logprobs": []}},
        {"logprobs": {"token_logprobs": [-0.5]}},
        {"logprobs": {"token_logprobs": [None]}},
    ],
)
def test_an_endpoint_that_echoes_no_log_probabilities_gives_no_scores(
    choice: dict[str, object],
) -> None:
    with standing_in(answered(200, text(**choice))) as end, pytest.raises(SourceError):
        asyncio.run(client_of(end.url).score(["hi"]))


def test_scores_leave_out_the_token_that_was_written() -> None:
    answer = answered(200, text(logprobs={"token_logprobs": [None, -0.5, -9.0]}))
    with standing_in(answer) as end:
        assert asyncio.run(client_of(end.url).score(["hi", [3, 4]])) == [[None, -0.5]] * 2
        assert end.bodies[0]["echo"] is True
        assert {str(body["prompt"]) for body in end.bodies} == {"hi", "[3, 4]"}


# ---- keys and addresses


def test_the_key_is_sent_and_stands_in_no_message() -> None:
    echoed = f"Incorrect API key provided: {KEY}."
    answers = [
        answered(401, {"error": {"message": echoed}}),
        answered(200, echoed.encode()),
        answered(200, {"choices": echoed}),
        answered(503, echoed.encode()),
    ]
    for answer, ask in itertools.product(answers, (asked, streamed_parts)):
        with standing_in(answer) as end:
            with pytest.raises(TongwenError) as refused:
                ask(client_of(end.url, retries=Retries(most=0)))
            assert f"Authorization: Bearer {KEY}\r\n".lower() in end.heads[0].lower()
        error: BaseException | None = refused.value
        while error is not None:
            assert KEY not in f"{error!r} {error}"
            error = error.__cause__


@pytest.mark.parametrize("key", ["", "sk secret", "sk-secret\n", "sk-sécret", "sk-\x00secret"])
def test_a_key_that_no_header_can_hold_is_refused_and_not_shown(key: str) -> None:
    with pytest.raises(RequestError, match="the API key is empty, or") as refused:
        HttpClient("http://127.0.0.1:9", "m", api_key=key)
    assert "secret" not in str(refused.value)


def test_without_a_key_none_is_sent() -> None:
    with standing_in(GOOD) as end:
        asked(HttpClient(end.url, "m"))
        assert "authorization" not in end.heads[0].lower()


@pytest.mark.parametrize(
    ("endpoint", "base"),
    [
        ("http://127.0.0.1:8000", "http://127.0.0.1:8000/v1"),
        ("http://127.0.0.1:8000/", "http://127.0.0.1:8000/v1"),
        ("http://127.0.0.1:8000/v1/", "http://127.0.0.1:8000/v1"),
        ("https://example.org/api/v3", "https://example.org/api/v3"),
        ("https://example.org/v1/chat/completions", "https://example.org/v1"),
        ("https://example.org/v1/completions/", "https://example.org/v1"),
        ("http://[::1]:8000", "http://[::1]:8000/v1"),
    ],
)
def test_an_endpoint_may_be_written_as_people_do(endpoint: str, base: str) -> None:
    assert base_of(endpoint) == base


@pytest.mark.parametrize(
    "endpoint",
    [
        "",
        "127.0.0.1:8000",
        "localhost:8000",
        "ftp://example.org",
        "http://",
        "http://a b",
        "http://h:99999999",
        "http://[::1",
        "https://example.org/v1?key=1",
        "https://example.org/v1#top",
        "https://me:hunter2@example.org",
    ],
)
def test_what_is_no_endpoint_is_refused(endpoint: str) -> None:
    with pytest.raises(RequestError, match="endpoint") as refused:
        HttpClient(endpoint, "m")
    assert "hunter2" not in str(refused.value)


def test_proxies_of_the_environment_are_not_for_this_machine(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    with standing_in(GOOD) as end:
        assert asked(client_of(end.url)) == "yes"


def test_a_lone_surrogate_is_sent_for_the_endpoint_to_refuse() -> None:
    with standing_in(GOOD) as end:
        asked(client_of(end.url), "a\ud800b")
        assert end.bodies[0]["prompt"] == "a\ud800b"


def test_an_assistants_last_turn_is_gone_on_with() -> None:
    turns = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    chat = answered(200, {"choices": [{"message": {"content": "c"}, "finish_reason": "stop"}]})
    with standing_in(chat) as end:
        assert asked(client_of(end.url), turns) == "c"
        asked(client_of(end.url), turns[:1])
    assert end.bodies[0]["continue_final_message"] is True
    assert end.bodies[0]["add_generation_prompt"] is False
    assert "continue_final_message" not in end.bodies[1]


# ---- endpoints that know OpenAI's words alone


def test_to_a_foreign_endpoint_neutral_values_are_left_unsaid_and_four_stops_are_said() -> None:
    stops = [f"stop {number}" for number in range(7)]
    params = SamplingParams(
        temperature=0, top_p=1.0, top_k=0, repetition_penalty=1.0, max_tokens=8, stop=stops
    )
    with standing_in(GOOD) as end:
        asked(client_of(end.url, is_foreign=True), params=params)
        asked(client_of(end.url), params=params)
    foreign, own = end.bodies
    assert "top_k" not in foreign
    assert "repetition_penalty" not in foreign
    assert foreign["temperature"] == 0
    assert foreign["stop"] == stops[:4]
    assert (own["top_k"], own["repetition_penalty"], own["stop"]) == (0, 1.0, stops)


def test_stop_strings_that_a_foreign_endpoint_was_not_told_end_a_completion_too() -> None:
    params = SamplingParams(temperature=0, max_tokens=8, stop=["a", "b", "c", "d", "#"])
    with standing_in(answered(200, text("yes # no", finish_reason="length"))) as end:
        assert asked(client_of(end.url, is_foreign=True), params=params) == "yes "


@pytest.mark.parametrize("reason", ["error", "content_filter", "abort"])
def test_what_an_endpoint_did_not_finish_is_no_answer(reason: str) -> None:
    unfinished = answered(200, text("", finish_reason=reason))
    with standing_in(unfinished) as end, pytest.raises(SourceError):
        asked(client_of(end.url))


@pytest.mark.parametrize(
    "answer",
    [
        answered(404, {"detail": "Not Found"}),
        answered(405, {"detail": "Method Not Allowed"}),
        answered(200, HTML, "text/html"),
        answered(200, {"tokens": []}),
        answered(200, {"tokens": "none"}),
    ],
)
def test_who_tells_no_token_ids_is_not_asked_for_them_again(answer: bytes) -> None:
    with standing_in(answer) as end:
        client = client_of(end.url)

        async def run() -> None:
            for _ in range(3):
                with pytest.raises(ModelNotFoundError, match="tells no token ids"):
                    await client.encode("hi")
            await client.close()

        asyncio.run(run())
        assert len(end.bodies) == 1


def test_token_ids_come_from_beside_the_openai_paths() -> None:
    with standing_in(answered(200, {"tokens": [1, 2]})) as end:
        client = client_of(end.url)
        assert asyncio.run(client.encode("hi")) == [1, 2]
        assert end.heads[0].startswith("POST /tokenize ")
        assert end.bodies[0] == {"model": "m", "prompt": "hi"}
