"""Reads a chap-secrets file: one account a line, ``client server secret [address ...]``, with quotes and comments as pppd takes them."""

from __future__ import annotations

import shlex
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from headrace.cli.exits import CommandError

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class Entry:
    """One account of the file."""

    line: int
    name: str
    password: str = field(repr=False)
    address: str = ""
    """Static address; empty where the file leaves it open."""


def parse(path: Path) -> list[Entry]:
    """Read the file. Raises ``CommandError`` with the line of what cannot be read."""
    try:
        lines = path.read_text("utf-8").splitlines()
    except UnicodeDecodeError:
        raise CommandError(f"{path} is not UTF-8", "save it as UTF-8") from None
    out = []
    for number, text in enumerate(lines, 1):
        try:
            words = shlex.split(text, comments=True)
        except ValueError:
            raise CommandError(f"{path}:{number}: a quote is not closed", "close it") from None
        if not words:
            continue
        if len(words) < 3:
            raise CommandError(f"{path}:{number}: fewer than three words", "each line is: client server secret [address]")
        name, _, password, *addresses = words
        if name == "*" or not password or password.startswith("@"):
            continue
        address = addresses[0] if len(addresses) == 1 and addresses[0] not in {"*", "-"} and "/" not in addresses[0] else ""
        out.append(Entry(number, name, password, address))
    return out
