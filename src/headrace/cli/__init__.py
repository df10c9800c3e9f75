"""The command line. One file a command; what is heavy is imported when the command runs, so that ``--help`` is quick."""

from __future__ import annotations

import sys

__all__ = ["main"]


def main() -> None:
    """Run ``headrace`` with the process's arguments, and end the process with its exit code."""
    from headrace.cli.app import run

    sys.exit(run(sys.argv[1:]))
