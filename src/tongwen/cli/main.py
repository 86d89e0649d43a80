"""`tongwen`: a table of verbs; of their modules only the one that is asked for is imported.

What the verbs raise becomes one line on stderr and an exit status:

    0    done
    1    an error, said on stderr; or whoever read the output stopped reading, said nowhere
    2    the command line itself is wrong
    130  Ctrl-C
"""

import difflib
import importlib
import io
import logging
import os
import sys
from collections.abc import Sequence

import click

from tongwen.cli.terminal import visible
from tongwen.errors import TongwenError
from tongwen.version import __version__

VERBS: dict[str, tuple[str, str]] = {
    "run": ("tongwen.cli.run", "Ask a model, or talk with it."),
    "serve": ("tongwen.cli.serve", "Serve models on a port, for everyone's client."),
    "batch": ("tongwen.cli.batch", "Answer the rows of an OpenAI batch file."),
    "pull": ("tongwen.cli.pull", "Fetch models."),
    "list": ("tongwen.cli.list", "Print the models on this machine, or all names."),
    "show": ("tongwen.cli.show", "Print what is known of a model."),
    "rm": ("tongwen.cli.rm", "Delete models."),
    "ps": ("tongwen.cli.ps", "Print running servers and the models in their memory."),
    "stop": ("tongwen.cli.stop", "End a server; requests that it is answering are finished first."),
    "eval": ("tongwen.cli.eval", "Measure a model on benchmarks."),
    "bench": ("tongwen.cli.bench", "Measure how fast a model runs, here or behind an endpoint."),
    "env": ("tongwen.cli.env", "Print what a bug report needs."),
    "completion": ("tongwen.cli.completion", "Print the script that completes words in a shell."),
}
"""Each verb: the module whose `command` it is, and what it does in a line."""

FAILED, INTERRUPTED = 1, 130


class Verbs(click.Group):
    """Commands that are imported when they are called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The verbs, in the order of the table."""
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of a verb, with the option that all of them share."""
        if cmd_name not in VERBS:
            return None
        command: click.Command = importlib.import_module(VERBS[cmd_name][0]).command
        if not any(param.name == "debug" for param in command.params):
            command.params.append(_debug_option())
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The command, or a refusal that names the nearest verb."""
        verb = args[0]
        if verb in VERBS or verb.startswith("-") or ctx.resilient_parsing:
            return super().resolve_command(ctx, args)
        near = difflib.get_close_matches(verb, VERBS, n=1, cutoff=0.4)
        meant = f"; did you mean `{near[0]}`?" if near else f"; there are {', '.join(VERBS)}"
        raise click.UsageError(f"unknown verb `{verb}`{meant}", ctx)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The verbs by their line in the table: none is imported for it."""
        with formatter.section("Verbs"):
            formatter.write_dl([(verb, line) for verb, (_, line) in VERBS.items()])


def _debug_option() -> click.Option:
    return click.Option(
        ["--debug"],
        is_flag=True,
        expose_value=False,
        callback=_debug,
        help="Show tracebacks and what goes on.",
    )


def _debug(_: click.Context, __: click.Parameter, is_on: bool) -> None:
    if is_on:
        logging.getLogger("tongwen").setLevel(logging.DEBUG)


@click.group(
    cls=Verbs,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    params=[_debug_option()],
    subcommand_metavar="VERB ...",
)
@click.version_option(__version__, message="tongwen %(version)s")
@click.pass_context
def cli(ctx: click.Context) -> None:
    """Qwen2, whole: run its models, here, from one command.

    Answers go to stdout, everything else to stderr.  `tongwen VERB --help` tells more.
    """
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())


def main() -> None:
    """Run the program; what `tongwen` on a command line calls."""
    sys.exit(call(sys.argv[1:]))


def call(arguments: Sequence[str]) -> int:
    """Run the program with these arguments and give its exit status."""
    _speak_any_language()
    logging.basicConfig(format="%(levelname)s: %(message)s", level=logging.WARNING)
    for level in (logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR):
        logging.addLevelName(level, logging.getLevelName(level).lower())
    try:
        status = cli.main(list(arguments), "tongwen", standalone_mode=False)
        if sys.stdout is not None:
            sys.stdout.flush()
        return status if isinstance(status, int) else 0
    except (KeyboardInterrupt, click.Abort):
        return INTERRUPTED
    except BrokenPipeError:
        _discard_output()
        return FAILED
    except Exception as error:
        if "--debug" in arguments:
            raise
        return report(error)


def report(error: Exception) -> int:
    """Print an error, and what to do about it, on stderr; the exit status that it asks for."""
    message, hint = _described(error)
    click.echo(f"error: {visible(message)}", err=True)
    if hint:
        click.echo(f"hint: {visible(hint)}", err=True)
    return error.exit_code if isinstance(error, click.ClickException) else FAILED


def _described(error: Exception) -> tuple[str, str | None]:
    if isinstance(error, TongwenError):
        return error.message, error.hint
    if isinstance(error, click.UsageError):
        path = error.ctx.command_path if error.ctx else "tongwen"
        return error.format_message(), f"`{path} --help` lists what there is"
    if isinstance(error, click.ClickException):
        return error.format_message(), None
    if isinstance(error, OSError) and error.strerror:
        where = f" `{error.filename}`" if error.filename else ""
        return f"{error.strerror}{where}", None
    if isinstance(error, MemoryError):
        return "out of memory", "choose a smaller model, a shorter `--context` or `--weights bf16`"
    return (
        f"unforeseen {type(error).__name__}: {error}",
        "this is a fault in Tongwen; report it with what `--debug` and `tongwen env` print",
    )


def _speak_any_language() -> None:
    """Have characters that the terminal's encoding lacks replaced, rather than fail on them."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _discard_output() -> None:
    """Keep the interpreter from complaining about the same pipe when it ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
