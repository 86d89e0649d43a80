"""`tongwen eval`: measure a model on benchmarks, each figure with a receipt."""

from pathlib import Path
from typing import Any

import click

from tongwen.cli.eval_progress import Shown
from tongwen.cli.eval_receipts import compare, score, verify
from tongwen.cli.eval_report import print_page, report
from tongwen.cli.eval_tables import (
    list_tasks,
    print_card,
    print_results,
    print_summary,
    say_missing,
)
from tongwen.cli.eval_target import judge_of, target_of
from tongwen.cli.names import SOURCES, complete_model, open_store
from tongwen.cli.run import WEIGHTS
from tongwen.cli.terminal import say


class Evals(click.Group):
    """What is no subcommand is a benchmark."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """`tongwen eval gsm8k --model M` is `tongwen eval run gsm8k --model M`."""
        if args and args[0] not in {*self.commands, "-h", "--help", "--debug"}:
            args = ["run", *args]
        return super().parse_args(ctx, args)


@click.group(name="eval", cls=Evals, subcommand_metavar="TASK[,TASK] --model M | COMMAND ...")
def command() -> None:
    """Measure a model on benchmarks.

    `tongwen eval gsm8k,mmlu --model qwen2:0.5b --data DIR` prints a figure for each, and where its
    receipt lies: all that the figure depends on, with every sample.  `tongwen eval run --help`
    tells the options.
    """


@command.command(name="run")
@click.argument("tasks", metavar="TASK[,TASK]")
@click.option(
    "--model",
    shell_complete=complete_model,
    help="A name, a directory or a .gguf file; else the one used last.",
)
@click.option("--preset", help="The published way to run it; `tongwen eval list` prints them.")
@click.option(
    "--data",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="Directory of the benchmarks' files; what is not there is fetched from the hub.",
)
@click.option("--limit", type=click.IntRange(1), help="So many samples, drawn by the seed.")
@click.option("--shots", type=click.IntRange(0), help="Solved examples; else as the preset says.")
@click.option("--n", type=click.IntRange(1, 1000), default=1, help="Completions of each sample.")
@click.option("--temperature", type=click.FloatRange(0), default=0.0, show_default=True)
@click.option("--seed", type=int, default=0, show_default=True)
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    help="Directory of receipts; else `evals` in TONGWEN_HOME.",
)
@click.option(
    "--concurrency",
    type=click.IntRange(1, 4096),
    default=64,
    show_default=True,
    help="Samples at once; changes no figure.",
)
@click.option(
    "--chat/--no-chat", default=None, help="Ask in turns, or continue text; else as trained."
)
@click.option("--weights", type=click.Choice(WEIGHTS), default="auto", show_default=True)
@click.option("--device", default="auto", show_default=True, help="cpu, cuda ...")
@click.option("--context", type=click.IntRange(min=1), help="Tokens of prompt and answer together.")
@click.option("--source", type=click.Choice(SOURCES), help="Fetch the model from here only.")
@click.option("--yes", "-y", is_flag=True, help="Agree to what would be asked.")
@click.option("--endpoint", metavar="URL", help="MODEL is there: an OpenAI-compatible server.")
@click.option("--api-key-env", metavar="NAME", help="Environment variable with its key.")
@click.option("--judge", metavar="MODEL", help="Who gives the verdicts, where a task wants them.")
@click.option("--judge-endpoint", metavar="URL", help="Where the judge is; else here.")
@click.option("--judge-key-env", metavar="NAME", help="Environment variable with its key.")
@click.option("--again", is_flag=True, help="Ask what an earlier run had done too.")
@click.option("--page", type=click.Path(path_type=Path, dir_okay=False), help="Write a report.")
@click.option(
    "--table",
    type=click.Choice(["markdown", "csv", "latex"]),
    default="markdown",
    show_default=True,
    help="How the card of a suite is printed.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object a task.")
def run_tasks(
    tasks: str,
    *,
    as_json: bool,
    page: Path | None,
    table: str,
    **options: Any,  # noqa: ANN401 - whatever the decorators above name
) -> None:
    """Run benchmarks; what an earlier run had done is not done again.

    TASK may also be a suite, which prints a whole card beside the published figures: card-base,
    card-instruct, open-llm-leaderboard-v1, open-llm-leaderboard-v2.

    A run that was broken off goes on where it was: benchmarks whose receipt is there already, of
    the same model, settings, data and version, and of the same code that asks and judges, are taken
    as they are, unless `--again` is given.
    """
    from tongwen.evals.catalogue import tasks_named
    from tongwen.evals.suites import SUITES
    from tongwen.evals.trial import EvalConfig

    suite = SUITES.get(tasks)
    if suite is not None and (options["preset"] is not None or options["shots"] is not None):
        raise click.UsageError("a suite says preset and shots of each benchmark itself")
    names = [] if suite else tasks_named(tasks.split(","))
    config = EvalConfig(
        data=options["data"],
        out=options["out"] or open_store().home / "evals",
        **{name: options[name] for name in _PLAIN},
    )
    target, judge = target_of(options), judge_of(options)
    from tongwen.evals.measure import run, run_suite

    with Shown() as shown:
        if suite is None:
            show = print_summary if as_json else _say_nothing
            results = run(names, target, config, judge=judge, tell=shown.tell, show=show)
        else:
            whole = run_suite(suite, target, config, judge=judge, tell=shown.tell)
            results = whole.results
    for result in results:
        if result.was_done:
            say(f"{result.receipt.settings.task}: done before: {result.path}")
    if page is not None:
        print_page(page, [result.path for result in results])
    if suite is None and not as_json:
        print_results(results, as_json=False)
    elif suite is not None and as_json:
        print_results(results, as_json=True)
        say_missing(whole)
    elif suite is not None:
        print_card(whole, table)


_PLAIN = ("preset", "limit", "shots", "n", "temperature", "seed", "concurrency", "again")


def _say_nothing(_: object) -> None:
    """The table comes when all is done."""


for each in (list_tasks, score, verify, compare, report):
    command.add_command(each)
