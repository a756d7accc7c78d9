"""The command line `ueo`, which is inside the extension module."""

from __future__ import annotations

import signal
import sys

from . import _ueo

__all__ = ["main"]


def main() -> int:
    """Runs `ueo` with the arguments of this process and returns its exit code."""
    # Python only takes a note of Ctrl-C until its own code runs again; the program ends, or has a way of its own.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    return _ueo.command(["ueo", *sys.argv[1:]])


if __name__ == "__main__":
    sys.exit(main())
