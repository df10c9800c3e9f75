"""Exit codes, and the one line on standard error that goes with each that is not 0."""

from __future__ import annotations

import sys
from typing import Final

OK: Final = 0
REFUSED: Final = 1
"""What was asked for was refused, or did not work: a call that broke, an account that does not exist."""
USAGE: Final = 2
"""The command line or the configuration is wrong."""
SYSTEM: Final = 3
"""The system did not give something: a port, a right, a running gateway."""
INTERRUPTED: Final = 130

HELP: Final = "Exit codes: 0 done; 1 refused or failed; 2 wrong usage or configuration; 3 the system did not give something (a port, a right, a running gateway)."


class CommandError(Exception):
    """A command cannot go on. ``str()`` is the line for standard error: reason; remedy."""

    def __init__(self, reason: str, remedy: str = "", code: int = USAGE) -> None:
        super().__init__(f"{reason}; {remedy}" if remedy else reason)
        self.code = code


def complain(text: str) -> None:
    """Write to standard error, one line for each line of the text."""
    for line in text.splitlines():
        print(line, file=sys.stderr)
