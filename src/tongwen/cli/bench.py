"""`tongwen bench`: measure how fast a model runs, here or behind an endpoint."""

import asyncio
import os
from dataclasses import asdict
from typing import Any, NamedTuple

import click

from tongwen.cli.choose import Wish, choose
from tongwen.cli.names import complete_model, open_store
from tongwen.cli.remote import key_of
from tongwen.cli.run import WEIGHTS
from tongwen.cli.terminal import print_json
from tongwen.engine.traffic import Goals, Load

COUNT = click.IntRange(1, 100_000)
ABOVE_0 = click.FloatRange(min=0, min_open=True)
_LOAD = ("requests", "prompt_tokens", "completion_tokens", "rate", "seed")
_GOALS = ("slo_ttft_ms", "slo_tpot_ms")


class _Plan(NamedTuple):
    """What is measured, and how often."""

    repeats: int
    load: Load
    goals: Goals


@click.command(name="bench")
@click.argument("work", type=click.Choice(["decode", "prefill", "serve"]))
@click.option(
    "--model",
    shell_complete=complete_model,
    help="A name, a directory or a .gguf file; else the one used last.",
)
@click.option("--weights", type=click.Choice(WEIGHTS), help="[default: auto]")
@click.option("--repeats", type=click.IntRange(1, 1000), default=5, help="Runs that count.")
@click.option("--requests", type=COUNT, help="serve: requests of a run; 32.")
@click.option("--prompt-tokens", type=COUNT, help="serve: tokens of each prompt; 128.")
@click.option("--completion-tokens", type=COUNT, help="serve: tokens of each completion; 64.")
@click.option(
    "--rate", type=ABOVE_0, help="serve: requests a second, at random moments; else all at once."
)
@click.option("--seed", type=int, help="serve: of those moments; 0.")
@click.option("--slo-ttft-ms", type=ABOVE_0, help="serve: the first token should come so soon.")
@click.option("--slo-tpot-ms", type=ABOVE_0, help="serve: each later token should take no longer.")
@click.option(
    "--endpoint",
    metavar="URL",
    help="serve: measure anyone's OpenAI-compatible server; MODEL is its name there.",
)
@click.option(
    "--api-key-env", metavar="NAME", help="Environment variable that holds the endpoint's key."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(
    work: str,
    model: str | None,
    *,
    weights: str | None,
    repeats: int,
    as_json: bool,
    endpoint: str | None,
    api_key_env: str | None,
    **options: Any,  # noqa: ANN401 - of the load and the goals
) -> None:
    """Measure how fast a model runs, here or behind an endpoint.

    decode: 64 tokens after a short prompt; prefill: a prompt of 512 tokens; serve: requests that
    arrive all at once, or at `--rate`, in output tokens per second, time to the first token and
    time per output token after it.  With `--slo-ttft-ms` or `--slo-tpot-ms`: goodput, the share
    and the rate of requests that met them.  Beside each run here the walls are measured: how fast
    memory is read, which decoding meets, and how fast 8-bit integers are multiplied, which prompts
    and batches meet.
    """
    given = {name: value for name, value in options.items() if value is not None}
    others = {"endpoint": endpoint, "api_key_env": api_key_env}
    _refuse_elsewhere(work, given | {name: each for name, each in others.items() if each})
    plan = _Plan(
        repeats,
        Load(**{name: value for name, value in given.items() if name in _LOAD}),
        Goals(**{name: value for name, value in given.items() if name in _GOALS}),
    )
    if endpoint is not None:
        if weights is not None:
            raise click.UsageError("--weights is for models of this machine, not of an endpoint")
        name, figures = _measure_there(endpoint, model, api_key_env, plan)
    else:
        if api_key_env is not None:
            raise click.UsageError("--api-key-env goes with --endpoint")
        name, figures = _measure_here(model, work, weights or "auto", plan)
    if as_json:
        print_json({"model": name, **figures})
    else:
        _print(name, figures)


def _refuse_elsewhere(work: str, given: dict[str, Any]) -> None:
    if given and work != "serve":
        option = "--" + next(iter(given)).replace("_", "-")
        raise click.UsageError(f"{option} is for `tongwen bench serve`")


def _measure_here(
    model: str | None, work: str, weights: str, plan: _Plan
) -> tuple[str, dict[str, Any]]:
    wish = Wish(
        model=model, source=None, weights=weights, device="auto", context=None, agrees=False
    )
    local = choose(open_store(), wish)
    from tongwen.engine.bench import measure, measure_serving
    from tongwen.engine.llm import LLM

    context = plan.load.cache_tokens if work == "serve" else 2048
    llm = LLM(local.path, weights=weights, context=context, speculate=False)  # type: ignore[arg-type]
    if work == "serve":
        return local.name, _flat(asdict(measure_serving(llm, plan.load, plan.repeats, plan.goals)))
    return local.name, asdict(measure(llm, work, plan.repeats))


def _measure_there(
    endpoint: str, model: str | None, key: str | None, plan: _Plan
) -> tuple[str, dict[str, Any]]:
    from tongwen.client.load import measure_endpoint

    name, speed = asyncio.run(
        measure_endpoint(
            endpoint,
            model,
            plan.load,
            api_key=key_of(os.environ, key),
            repeats=plan.repeats,
            goals=plan.goals,
        )
    )
    return name, _flat(asdict(speed))


def _flat(figures: dict[str, Any]) -> dict[str, Any]:
    """Figures with those of the load and of the waits among them."""
    load, waits = figures.pop("load"), figures.pop("latencies")
    return {**figures, **load, **waits}


def _print(model: str, figures: dict[str, Any]) -> None:
    rate, numerics = figures["tokens_per_s"], figures["numerics"] or "numerics not told"
    click.echo(f"{model}: {figures['work']} {rate:.1f} tokens/s ({numerics})")
    if figures["work"] == "serve":
        _print_waits(figures)
    said = f"spread {figures['spread']:.0%} over {figures['repeats']} runs"
    if "client_share" in figures:
        click.echo(f"{said}; the client took {figures['client_share']:.0%} of a core")
        return
    wall, peak = figures["wall_share"], figures["peak_int8_gops"]
    click.echo(
        f"{said}; memory reads at {figures['read_gb_per_s']:.1f} GB/s"
        + (f", products at most {peak / 1e3:.2f} int8 TOPS" if peak else "")
        + (f"; {wall:.0%} of the wall reached" if wall else "")
    )


def _print_waits(figures: dict[str, Any]) -> None:
    arrive = f"{figures['rate']:g} a second" if figures["rate"] else "all at once"
    click.echo(
        f"{figures['requests']} requests of {figures['prompt_tokens']} + "
        f"{figures['completion_tokens']} tokens, {arrive}; time to the first token: median "
        f"{figures['ttft_p50_ms']:.0f} ms, 99th percentile {figures['ttft_p99_ms']:.0f} ms"
    )
    if figures["tpot_p50_ms"] is not None:
        click.echo(
            f"time per output token: median {figures['tpot_p50_ms']:.1f} ms, "
            f"99th percentile {figures['tpot_p99_ms']:.1f} ms"
        )
    if figures["failed"]:
        click.echo(f"{figures['failed']} requests were not answered")
    if figures["goodput_share"] is not None:
        click.echo(
            f"goodput: {figures['goodput_share']:.1%} of the requests, "
            f"{figures['goodput_per_s']:.2f} a second"
        )
