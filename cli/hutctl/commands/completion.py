"""``completion``: what a shell needs to complete commands and options."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from hutctl.session import Session, shared_options

__all__ = ["completion"]


@click.command(
    epilog="""\b
Examples:
  hutctl completion bash >> ~/.bashrc
  hutctl completion zsh >> ~/.zshrc
  hutctl completion fish > ~/.config/fish/completions/hutctl.fish
"""
)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@shared_options
@click.pass_obj
def completion(_session: Session, shell: str) -> None:
    """Print the completion script of a shell."""
    from hutctl.root import root

    kind = get_completion_class(shell)
    assert kind is not None  # noqa: S101 - the choices above are all known
    click.echo(kind(root, {}, "hutctl", "_HUTCTL_COMPLETE").source())
