"""`tongwen bench`: measure how fast a model runs here."""

from dataclasses import asdict
from typing import Any

import click

from tongwen.cli.choose import Wish, choose
from tongwen.cli.names import complete_model, open_store
from tongwen.cli.run import WEIGHTS
from tongwen.cli.terminal import print_json

COUNT = click.IntRange(1, 100_000)


@click.command(name="bench")
@click.argument("work", type=click.Choice(["decode", "prefill", "serve"]))
@click.option(
    "--model",
    shell_complete=complete_model,
    help="A name, a directory or a .gguf file; else the one used last.",
)
@click.option("--weights", type=click.Choice(WEIGHTS), default="auto", show_default=True)
@click.option("--repeats", type=click.IntRange(1, 1000), default=5, help="Runs that count.")
@click.option("--requests", type=COUNT, help="serve: requests at once; 32.")
@click.option("--prompt-tokens", type=COUNT, help="serve: tokens of each prompt; 128.")
@click.option("--completion-tokens", type=COUNT, help="serve: tokens of each completion; 64.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(
    work: str, model: str | None, weights: str, repeats: int, as_json: bool, **load: int | None
) -> None:
    """Measure how fast a model runs here.

    decode: 64 tokens after a short prompt; prefill: a prompt of 512 tokens; serve: requests that
    arrive all at once, in output tokens per second and time to the first token.  Beside each run
    the walls are measured: how fast memory is read, which decoding meets, and how fast 8-bit
    integers are multiplied, which prompts and batches meet.
    """
    given = {name: value for name, value in load.items() if value is not None}
    if given and work != "serve":
        option = "--" + next(iter(given)).replace("_", "-")
        raise click.UsageError(f"{option} is for `tongwen bench serve`")
    wish = Wish(
        model=model, source=None, weights=weights, device="auto", context=None, agrees=False
    )
    local = choose(open_store(), wish)
    figures = _measure(str(local.path), work, weights, repeats, given)
    if as_json:
        print_json({"model": local.name, **figures})
    else:
        _print(local.name, figures)


def _measure(
    path: str, work: str, weights: str, repeats: int, given: dict[str, int]
) -> dict[str, Any]:
    from tongwen.engine.bench import Load, measure, measure_serving
    from tongwen.engine.llm import LLM

    load = Load(**given)
    context = load.cache_tokens if work == "serve" else 2048
    llm = LLM(path, weights=weights, context=context, speculate=False)  # type: ignore[arg-type]
    if work == "serve":
        return asdict(measure_serving(llm, load, repeats))
    return asdict(measure(llm, work, repeats))


def _print(model: str, figures: dict[str, Any]) -> None:
    rate, wall, peak = (figures[key] for key in ("tokens_per_s", "wall_share", "peak_int8_gops"))
    click.echo(f"{model}: {figures['work']} {rate:.1f} tokens/s ({figures['numerics']})")
    if figures["work"] == "serve":
        click.echo(
            f"{figures['requests']} requests of {figures['prompt_tokens']} + "
            f"{figures['completion_tokens']} tokens; time to the first token: median "
            f"{figures['ttft_p50_ms']:.0f} ms, 99th percentile {figures['ttft_p99_ms']:.0f} ms"
        )
    click.echo(
        f"spread {figures['spread']:.0%} over {figures['repeats']} runs; memory reads at "
        f"{figures['read_gb_per_s']:.1f} GB/s"
        + (f", products at most {peak / 1e3:.2f} int8 TOPS" if peak else "")
        + (f"; {wall:.0%} of the wall reached" if wall else "")
    )
