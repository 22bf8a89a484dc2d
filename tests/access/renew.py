"""Write `roles.md` anew from the templates: ``python -m tests.access.renew``.

Reasons that are known stay. A person reviews the difference and writes the others.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from tests.access import roles
from tests.infra.synthesis import synthesize

__all__ = ["current"]


def current(code: Path) -> str:
    """Return what the file should say, with the reasons that it says.

    Parameters
    ----------
    code
        A folder in the place of the functions' bundle.
    """
    found = {
        title: roles.rows_of(synthesize(code, settings))
        for title, settings in roles.VARIANTS.items()
    }
    return roles.render(found, roles.known_reasons(roles.read_file()))


def main() -> int:
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "nothing.py").write_text("")
        text = current(Path(folder))
    roles.FILE.write_text(text)
    missing = text.count(roles.UNREVIEWED) - 1  # the head speaks of it
    sys.stderr.write(f"{roles.FILE.name} is renewed; {missing} rows need a reason\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
