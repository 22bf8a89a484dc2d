"""The entry point: runs the command line and turns what goes wrong into exit codes.

0 done, 1 the run failed, 2 input or usage is wrong, 3 the run was cancelled, 4 the control plane
can't be reached, 130 interrupted (contract, "Command line"). 70 is a fault of hutctl itself.
"""

from __future__ import annotations

import os
import sys

__all__ = ["main"]


def main() -> None:
    """Run the command line of this process and exit."""
    try:
        from hutctl.root import invoke

        code = invoke(sys.argv[1:])
        sys.stdout.flush()
    except BrokenPipeError:  # the reader of a pipe (head, less) has enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        code = 128 + 13
    except KeyboardInterrupt:  # before there was anything to cancel
        code = 130
    sys.exit(code)


if __name__ == "__main__":
    main()
