"""Stands in for ``docker`` on an emulated instance: a container is a process with its own environment."""

import os
import sys

_WITH_VALUE = (
    *("-e", "--env", "--env-file", "-v", "--volume", "--mount", "-w", "--workdir", "--name"),
    *("--gpus", "--network", "--net", "--entrypoint", "-u", "--user", "--log-driver", "--ulimit"),
    *("-l", "--label", "--stop-timeout", "--shm-size", "-m", "--memory", "--cpus", "--cidfile"),
)
_KEPT = ("PATH", "HOME", "LANG", "LC_ALL", "HUT_TESTBED_INSTANCE")


def run(words: list[str]) -> None:
    """Become a container's command."""
    environment = {
        name: value
        for name, value in os.environ.items()
        if name in _KEPT or name.startswith("AWS_")
    }
    options = iter(words)
    entry, image = "", ""
    for word in options:
        if not word.startswith("-"):
            image = word
            break
        name, equals, value = word.partition("=")
        if name in _WITH_VALUE and not equals:
            value = next(options)
        if name in ("-e", "--env"):
            key, given, text = value.partition("=")
            environment[key] = text if given else os.environ.get(key, "")
        elif name == "--env-file":
            with open(value) as file:
                environment |= dict(line.rstrip("\n").split("=", 1) for line in file if "=" in line)
        elif name == "--entrypoint":
            entry = value
    command = [*([entry] if entry else []), *options]
    if not image or not command:
        sys.exit("docker: 'docker run' needs an image and a command")
    os.execvpe(command[0], command, environment)


def main() -> None:
    command, *words = sys.argv[1:] or ["help"]
    if command == "run":
        run(words)


main()
