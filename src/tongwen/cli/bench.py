"""`tongwen bench`: measure how fast a model runs here."""

from dataclasses import asdict

import click

from tongwen.cli.choose import Wish, choose
from tongwen.cli.names import complete_model, open_store
from tongwen.cli.run import WEIGHTS
from tongwen.cli.terminal import print_json


@click.command(name="bench")
@click.argument("work", type=click.Choice(["decode", "prefill"]))
@click.option(
    "--model",
    shell_complete=complete_model,
    help="A name, a directory or a .gguf file; else the one used last.",
)
@click.option("--weights", type=click.Choice(WEIGHTS), default="auto", show_default=True)
@click.option("--repeats", type=click.IntRange(1, 1000), default=5, help="Runs that count.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(work: str, model: str | None, weights: str, repeats: int, as_json: bool) -> None:
    """Measure how fast a model runs here.

    decode: 64 tokens after a short prompt; prefill: a prompt of 512 tokens.  Beside each run the
    speed of reading memory is measured, the wall that decoding meets.
    """
    wish = Wish(
        model=model, source=None, weights=weights, device="auto", context=None, agrees=False
    )
    local = choose(open_store(), wish)

    from tongwen.engine.bench import measure
    from tongwen.engine.llm import LLM

    llm = LLM(local.path, weights=weights, context=2048)  # type: ignore[arg-type]
    speed = asdict(measure(llm, work, repeats))
    if as_json:
        print_json({"model": local.name, **speed})
        return
    wall = speed["wall_share"]
    click.echo(f"{local.name}: {work} {speed['tokens_per_s']:.1f} tokens/s ({speed['numerics']})")
    click.echo(
        f"spread {speed['spread']:.0%} over {repeats} runs; memory reads at "
        f"{speed['read_gb_per_s']:.1f} GB/s" + (f", {wall:.0%} of it used" if wall else "")
    )
