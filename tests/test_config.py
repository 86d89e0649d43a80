"""The strict loader of recipes: what it reads, what it refuses and in which words."""

import math
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tongwen.config import dump, load, parse
from tongwen.errors import ConfigError


@dataclass(frozen=True, kw_only=True, slots=True)
class OptimizerConfig:
    """How weights move."""

    peak_lr: float
    name: Literal["adamw", "sgd"] = "adamw"
    betas: tuple[float, float] = (0.9, 0.95)
    fused: bool | None = None

    def __post_init__(self) -> None:
        if self.peak_lr < 0:
            raise ConfigError(
                f"`peak_lr` must not be negative, not {self.peak_lr}", hint="positive"
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class SourceConfig:
    """Where documents come from."""

    path: Path
    weight: float = 1.0
    tags: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class LoraConfig:
    """How an adapter is shaped."""

    rank: int = 8
    targets: list[str] = field(default_factory=lambda: ["q_proj"])


@dataclass(frozen=True, kw_only=True, slots=True)
class RunConfig:
    """A run of everything that a recipe can say."""

    optimizer: OptimizerConfig
    name: str = "run"
    steps: int = 10
    seed: int | str = 0
    level: Literal[1, 2, True] = 1
    limit: int | float | None = None
    lora: LoraConfig | None = None
    sources: tuple[SourceConfig, ...] = ()
    labels: dict[str, str] = field(default_factory=dict)
    grid: list[list[int]] = field(default_factory=list)


MINIMAL = "[optimizer]\npeak_lr = 1e-3\n"


def refused(text: str, *overrides: str) -> str:
    with pytest.raises(ConfigError) as raised:
        parse(RunConfig, text, overrides)
    assert "\n" not in raised.value.message
    return raised.value.message


def test_a_recipe_fills_nested_tables_lists_of_tables_and_optional_ones() -> None:
    config = parse(
        RunConfig,
        """
        steps = 3
        grid = [[1, 2], []]
        [optimizer]
        peak_lr = 1
        betas = [0.5, 1]
        [lora]
        [[sources]]
        path = "a.jsonl"
        tags = ["x", "y"]
        [[sources]]
        path = "b.jsonl"
        weight = 2
        [labels]
        "a b" = "c"
        """,
    )
    assert config == RunConfig(
        steps=3,
        grid=[[1, 2], []],
        optimizer=OptimizerConfig(peak_lr=1.0, betas=(0.5, 1.0)),
        lora=LoraConfig(),
        sources=(
            SourceConfig(path=Path("a.jsonl"), tags=("x", "y")),
            SourceConfig(path=Path("b.jsonl"), weight=2.0),
        ),
        labels={"a b": "c"},
    )
    assert type(config.optimizer.peak_lr) is float


def test_what_is_left_out_takes_its_default() -> None:
    config = parse(RunConfig, MINIMAL)
    assert config == RunConfig(optimizer=OptimizerConfig(peak_lr=0.001))
    assert config.lora is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[optimizer]\npeaklr = 1.0", "unknown setting `optimizer.peaklr`; did you mean"),
        ("[optimizer]\npeaklr = 1.0", "`optimizer.peak_lr`?"),
        ("peak_lr = 1.0", "unknown setting `peak_lr`; did you mean `optimizer.peak_lr`?"),
        ("rank = 1", "unknown setting `rank`; did you mean `lora.rank`?"),
        (MINIMAL + "[[sources]]\npath='x'\nwieght=1", "did you mean `sources.0.weight`?"),
        ("zzz = 1", "unknown setting `zzz`"),
        ("", "missing setting `optimizer.peak_lr`"),
        ("[optimizer]\nname = 'sgd'", "missing setting `optimizer.peak_lr`"),
        (MINIMAL + "[[sources]]", "missing setting `sources.0.path`"),
        ("optimizer = 3", "`optimizer` must be a table, not `3`"),
        ("[optimizer]\npeak_lr = '1e-3'", "`optimizer.peak_lr` must be a number, not `'1e-3'`"),
        ("[optimizer]\npeak_lr = true", "must be a number, not `True`"),
        ("steps = 1.0", "`steps` must be an integer, not `1.0`"),
        ("steps = false", "`steps` must be an integer, not `False`"),
        ("steps = 9223372036854775808", "not an integer of more than 64 bits"),
        (f"steps = 0x{'f' * 9000}", "not an integer of more than 64 bits"),
        ("name = 7", "`name` must be a text, not `7`"),
        ("name = 2026-11-21", "`name` must be a text, not `datetime.date(2026, 11, 21)`"),
        ("name = {}", "`name` must be a text, not a table"),
        ("seed = 1.5", "`seed` must be an integer or a text, not `1.5`"),
        ("lora = 'no'", "`lora` must be a table, not `'no'`"),
        ("[lora]\ntargets = 'q_proj'", "`lora.targets` must be an array, not `'q_proj'`"),
        ("[lora]\ntargets = ['a', 1]", "`lora.targets.1` must be a text, not `1`"),
        ("grid = [[1], ['x']]", "`grid.1.0` must be an integer, not `'x'`"),
        ("sources = {}", "`sources` must be an array, not a table"),
        ("sources = [1]", "`sources.0` must be a table, not `1`"),
        ("[[sources]]\npath = 1", "`sources.0.path` must be a path in quotes, not `1`"),
        ("labels = ['a']", "`labels` must be a table, not an array"),
        ("[labels]\nx = 1", "`labels.x` must be a text, not `1`"),
        ("level = 3", "`level` must be `1` or `2` or `true`, not `3`"),
        ("level = 1.0", "`level` must be `1` or `2` or `true`, not `1.0`"),
        ("[optimizer]\npeak_lr=1\nname = 'adam'", '`optimizer.name` must be `"adamw"` or `"sgd"`'),
        ("[optimizer]\npeak_lr=1\nbetas = [0.9]", "`optimizer.betas` must have 2 entries, not 1"),
        ("[optimizer]\npeak_lr = -1.0", "in `optimizer`: `peak_lr` must not be negative"),
    ],
)
def test_what_is_wrong_is_refused_with_its_dotted_place(text: str, message: str) -> None:
    has_optimizer = "optimizer" in text or "missing" in message
    assert message in refused(text if has_optimizer else f"{text}\n{MINIMAL}")


def test_an_unlike_key_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ConfigError) as raised:
        parse(LoraConfig, "zzz = 1")
    assert raised.value.hint == "known here: rank, targets"


def test_the_hint_of_a_range_error_survives() -> None:
    with pytest.raises(ConfigError) as raised:
        parse(RunConfig, MINIMAL, ["optimizer.peak_lr=-1"])
    assert raised.value.hint == "positive"


def test_every_missing_setting_is_named_at_once() -> None:
    @dataclass(frozen=True)
    class Pair:
        a: int
        b: int

    with pytest.raises(ConfigError, match=r"^missing setting `a`, `b`$"):
        parse(Pair, "")


def test_an_override_is_toml_else_a_bare_text() -> None:
    overrides = (
        "optimizer.peak_lr=1e-5",
        "optimizer.name = sgd",
        "optimizer.betas=[0, 1]",
        "name=a=b # c",
        "lora.rank=4",
        "labels.who=me",
        'seed="7"',
    )
    config = parse(RunConfig, MINIMAL, overrides)
    assert config.optimizer == OptimizerConfig(peak_lr=1e-5, name="sgd", betas=(0.0, 1.0))
    assert config.name == "a=b # c"
    assert config.lora == LoraConfig(rank=4)
    assert config.labels == {"who": "me"}
    assert config.seed == "7"


def test_a_later_override_wins_and_none_adds_a_second_key() -> None:
    config = parse(RunConfig, MINIMAL, ["steps=1", "steps=2", "name=1\nsteps = 3"])
    assert (config.steps, config.name) == (2, "1\nsteps = 3")


def test_an_override_reaches_into_an_array_of_tables() -> None:
    text = MINIMAL + "[[sources]]\npath = 'a'\n[[sources]]\npath = 'b'\n"
    config = parse(RunConfig, text, ["sources.1.weight=0.5", 'sources.0={path = "c"}'])
    assert config.sources == (
        SourceConfig(path=Path("c")),
        SourceConfig(path=Path("b"), weight=0.5),
    )
    assert "entry `2` of an array of 2" in refused(text, "sources.2.weight=1")
    assert "entry `x` of an array of 2" in refused(text, "sources.x=1")


@pytest.mark.parametrize("override", ["steps", "=3", ".steps=3", "optimizer..peak_lr=3", ""])
def test_an_override_that_names_nothing_is_refused(override: str) -> None:
    assert refused(MINIMAL, override) == f"an override reads `dotted.key=value`, not `{override}`"


def test_an_override_cannot_reach_into_a_number() -> None:
    assert "`optimizer.peak_lr` is no table" in refused(MINIMAL, "optimizer.peak_lr.x=1")


def test_an_override_is_as_strict_as_the_recipe() -> None:
    assert "did you mean `steps`?" in refused(MINIMAL, "step=1")
    assert "`name` must be a text, not `7`" in refused(MINIMAL, "name=7")


def test_a_file_is_read_and_a_bad_one_named_with_its_line(tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.toml"
    with pytest.raises(ConfigError, match=r"cannot read recipe `.*recipe.toml`: No such file"):
        load(RunConfig, recipe)
    recipe.write_bytes(b"\xef\xbb\xbfname = '\xe9\x80\x9a\xe6\x96\x87'\r\n" + MINIMAL.encode())
    assert load(RunConfig, recipe, ["steps=7"]) == parse(
        RunConfig, "name='通文'\nsteps=7\n" + MINIMAL
    )
    recipe.write_bytes(b"name = 'a'\nname = \n")
    with pytest.raises(ConfigError, match=r"recipe.toml` is not TOML: .*line 2"):
        load(RunConfig, recipe)
    recipe.write_bytes(b"# one\n# two\nname = '\xff'\n")
    with pytest.raises(ConfigError, match=r"recipe.toml` is not UTF-8 text \(at line 3\)"):
        load(RunConfig, recipe)
    with pytest.raises(ConfigError, match="cannot read recipe"):
        load(RunConfig, tmp_path)


@pytest.mark.parametrize("text", ["x = " + "[" * 100_000, "x = " + "9" * 5_000, "x = 1\nx = 2"])
def test_hostile_toml_is_refused_like_any_other(text: str) -> None:
    assert "the recipe is not TOML" in refused(text)


def test_a_deep_table_is_refused_in_a_short_line() -> None:
    assert refused(MINIMAL + "[labels]\n" + ".".join("a" * 5_000) + " = 1") == (
        "setting `labels.a` must be a text, not a table"
    )


floats = st.floats(allow_nan=False)
integers = st.integers(-(2**63), 2**63 - 1)
sources = st.builds(
    SourceConfig,
    path=st.text(min_size=1).map(Path),
    weight=floats,
    tags=st.lists(st.text()).map(tuple),
)
configs = st.builds(
    RunConfig,
    optimizer=st.builds(
        OptimizerConfig,
        peak_lr=st.floats(min_value=0),
        name=st.sampled_from(["adamw", "sgd"]),
        betas=st.tuples(floats, floats),
        fused=st.none() | st.booleans(),
    ),
    name=st.text(),
    steps=integers,
    seed=integers | st.text(),
    level=st.sampled_from([1, 2, True]),
    limit=st.none() | integers | floats,
    lora=st.none() | st.builds(LoraConfig, rank=integers, targets=st.lists(st.text())),
    sources=st.lists(sources, max_size=3).map(tuple),
    labels=st.dictionaries(st.text(), st.text()),
    grid=st.lists(st.lists(integers)),
)


@given(configs)
def test_a_dumped_config_reloads_equal_and_of_the_same_types(config: RunConfig) -> None:
    again = parse(RunConfig, dump(config))
    assert again == config
    assert repr(again) == repr(config)


@given(st.text(), st.text())
def test_no_text_makes_the_loader_fail_otherwise(text: str, override: str) -> None:
    with suppress(ConfigError):
        assert isinstance(parse(RunConfig, text, [override]), RunConfig)


def test_a_dumped_config_reads_well() -> None:
    text = 'steps = 3\n[optimizer]\npeak_lr = 1e-5\n[[sources]]\npath = "a"\n[labels]\n"a b" = "c"'
    config = parse(RunConfig, text)
    assert dump(config) == (
        'name = "run"\nsteps = 3\nseed = 0\nlevel = 1\ngrid = []\n\n'
        '[optimizer]\npeak_lr = 1e-05\nname = "adamw"\nbetas = [0.9, 0.95]\n\n'
        '[[sources]]\npath = "a"\nweight = 1.0\ntags = []\n\n'
        '[labels]\n"a b" = "c"\n'
    )


def test_infinity_survives_and_none_beside_another_default_is_refused() -> None:
    @dataclass(frozen=True)
    class Decay:
        until: float = math.inf
        floor: float | None = 0.0

    assert parse(Decay, dump(Decay())) == Decay()
    with pytest.raises(ConfigError, match="`floor` is `None`, which TOML cannot say"):
        dump(Decay(floor=None))
