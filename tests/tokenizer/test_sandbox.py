import pytest

from tongwen.errors import TokenizerError
from tongwen.tokenizer.sandbox import MAX_SOURCE_CHARS, Template


def test_blocks_are_trimmed_as_templates_expect() -> None:
    source = "  {% if true %}\n{{ 'a' }}\n  {% endif %}\nb\n"
    assert Template(source).render(0, {}) == "a\nb"


def test_json_is_printed_in_order_and_in_unicode() -> None:
    value = {"b": "é<&'\"", "a": [1, 2.5, None, True]}
    assert Template("{{ v | tojson }}").render(0, {"v": value}) == (
        '{"b": "é<&\'\\"", "a": [1, 2.5, null, true]}'
    )


def test_generation_tags_and_loop_controls_are_understood() -> None:
    source = (
        "{% for x in [1, 2, 3] %}{% if x == 2 %}{% continue %}{% endif %}"
        "{% generation %}{{ x }}{% endgeneration %}{{ loop.last }}{% endfor %}"
    )
    assert Template(source).render(0, {}) == "1False3True"


def test_a_template_may_refuse_in_its_own_words() -> None:
    with pytest.raises(TokenizerError, match="roles must alternate"):
        Template("{{ raise_exception('roles must alternate') }}").render(0, {})


@pytest.mark.parametrize(
    "source",
    [
        "{{ ''.__class__.__mro__ }}",
        "{{ messages.append(1) }}",
        "{{ cycler.__init__.__globals__ }}",
        "{% set x = messages.__class__ %}{{ x.__subclasses__() }}",
        "{{ raise_exception.__globals__.x }}",
    ],
)
def test_what_lies_outside_the_sandbox_cannot_be_used(source: str) -> None:
    with pytest.raises(TokenizerError):
        Template(source).render(0, {"messages": [1]})


@pytest.mark.parametrize(
    "source",
    [
        "{% for i in range(10 ** 9) %}{% endfor %}",
        "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}",
        "{% for i in range(99999) %}{{ 'xxxxxxxxxxxxxxxxxxxx' }}{% endfor %}",
        "{{ 'a' * 1000000000 }}",
        "{{ [1] * 1000000000 }}",
        "{{ 9 ** 9 ** 9 }}",
        "{{ '%01000000000d' % 1 }}",
        "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
        "{% macro f(n) %}{% if n %}{{ f(n - 1) + f(n - 1) }}{% endif %}{% endmacro %}{{ f(60) }}",
        "{% set n = namespace(x='a') %}{% for i in range(60) %}{% set n.x = n.x ~ n.x %}{%endfor%}",
        "{% set n = namespace(x='a') %}{% for i in range(60) %}{% set n.x = n.x + n.x %}{%endfor%}",
        "{{ 'a'.ljust(1000000000) }}",
        "{{ 'a' | center(1000000000) }}",
        "{% set x = 'a' * 99999 %}{{ x | replace('a', x) }}",
        "{% set x = 'a' * 99999 %}{{ x.replace('a', x) }}",
        "{{ 1 / 0 }}",
        "{{ messages[0].content.nothing() }}",
        "{{ 'a' + 1 }}",
    ],
)
def test_a_program_that_fails_or_runs_away_is_stopped_in_one_line(source: str) -> None:
    with pytest.raises(TokenizerError, match="chat template failed") as caught:
        Template(source).render(10, {"messages": [{"content": "x"}]})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("source", ["{% if %}", "{{ ", "{% nothing %}", "{{ a | nothing }}"])
def test_what_does_not_parse_is_refused(source: str) -> None:
    with pytest.raises(TokenizerError, match="does not compile"):
        Template(source)


def test_a_very_long_source_is_refused() -> None:
    with pytest.raises(TokenizerError, match=str(MAX_SOURCE_CHARS)):
        Template("x" * (MAX_SOURCE_CHARS + 1))


def test_the_bounds_grow_with_what_is_printed() -> None:
    long = ["x" * 1000] * 3000
    text = Template("{% for each in parts %}{{ each }}{% endfor %}").render(
        3_000_000, {"parts": long}
    )
    assert len(text) == 3_000_000
