"""``doctor``: whether this machine, or the target, is fit to work."""

from __future__ import annotations

import os

import click

from hutctl.session import Session, shared_options

__all__ = ["doctor"]


@click.command(
    epilog="""\b
Examples:
  hutctl doctor
  hutctl doctor --target lab     credentials, the way to the control plane, versions, clock
\b
Exit code 1 if something is not well.
"""
)
@shared_options
@click.pass_obj
def doctor(session: Session) -> int:
    """Check this machine and the state on it, or a target in AWS and the way there."""
    checks = [*session.client().diagnose(), _configuration(session)]
    well = all(good for _, good, _ in checks)
    if session.as_json:
        session.emit(
            {
                "well": well,
                "checks": [
                    {"check": name, "well": good, "found": found} for name, good, found in checks
                ],
            }
        )
    else:
        for name, good, found in checks:
            mark = click.style("ok  ", fg="green") if good else click.style("BAD ", fg="red")
            click.echo(f"{mark} {name:<8} {found}")
    return 0 if well else 1


def _configuration(session: Session) -> tuple[str, bool, str]:
    from hut.model.problems import InvalidInput
    from hutctl.configuration import find_configuration, load_configuration

    path = find_configuration(session.config, os.getcwd())
    if path is None:
        return ("config", True, "no hut.yaml here: defaults count")
    try:
        load_configuration(path)
    except InvalidInput as error:
        return ("config", False, f"{path}: {len(error.problems)} problems; hutctl config check")
    return ("config", True, str(path))
