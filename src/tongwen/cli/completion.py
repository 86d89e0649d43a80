"""`tongwen completion`: the script that has a shell complete verbs, options and models."""

import click
from click.shell_completion import get_completion_class

SHELLS = {
    "bash": 'eval "$(tongwen completion bash)"   # in ~/.bashrc',
    "zsh": 'eval "$(tongwen completion zsh)"   # in ~/.zshrc, after compinit',
    "fish": "tongwen completion fish | source   # in ~/.config/fish/config.fish",
}
"""The shells that are known, and the line to put into their start-up file."""


@click.command(
    epilog="\b\nTo switch it on, add a line to your shell's start-up file:\n"
    + "\n".join(f"  {line}" for line in SHELLS.values())
)
@click.argument("shell", type=click.Choice(list(SHELLS)))
@click.pass_context
def command(ctx: click.Context, shell: str) -> None:
    """Print the script that completes words in a shell."""
    script = get_completion_class(shell)
    if script is None:
        raise click.UsageError(f"this version of click completes nothing in {shell}")
    if shell == "bash":
        # Else bash takes `qwen2:7b` for three words.
        click.echo("COMP_WORDBREAKS=${COMP_WORDBREAKS//:}")
    root = ctx.find_root()
    click.echo(script(root.command, {}, "tongwen", "_TONGWEN_COMPLETE").source())
