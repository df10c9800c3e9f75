"""Mistakes in a configuration: one line each, that names file, line, key, reason and what to do."""

from __future__ import annotations

import difflib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from headrace.errors import ConfigError
from headrace.shell.locate import Lines

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Iterable

    from headrace.shell.locate import Path


@dataclass(frozen=True, slots=True, order=True)
class Mistake:
    """One of them."""

    line: int
    key: str
    reason: str
    remedy: str
    file: str

    def __str__(self) -> str:
        remedy = f"; {self.remedy}" if self.remedy else ""
        return f"{self.file}:{self.line}: {self.key}: {self.reason}{remedy}"


class ConfigMistakes(ConfigError):
    """A configuration cannot be used. Its text has one line for each mistake."""

    def __init__(self, mistakes: Iterable[Mistake]) -> None:
        self.mistakes = tuple(sorted(set(mistakes)))
        super().__init__("\n".join(str(m) for m in self.mistakes))


def dotted(path: Path) -> str:
    """Write a path as people do: ``ike.psk[1].remote``."""
    out = ""
    for part in path:
        out += f"[{part}]" if isinstance(part, int) else f".{part}" if out else part
    return out or "file"


def nearest(word: str, known: Iterable[str]) -> str | None:
    """Find the known word that looks most like this one, if any does."""
    found = difflib.get_close_matches(word.lower().replace("-", "_"), list(known), n=1, cutoff=0.6)
    return found[0] if found else None


@dataclass(slots=True)
class Report:
    """Collects the mistakes of one file."""

    path: pathlib.Path
    lines: Lines = field(default_factory=Lines)
    mistakes: list[Mistake] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def add(self, path: Path, reason: str, remedy: str = "", *, line: int | None = None) -> None:
        """Note a mistake at a key."""
        where = self.lines.of(path) if line is None else line
        self.mistakes.append(Mistake(where, dotted(path), reason, remedy, str(self.path)))

    def warn(self, path: Path, text: str) -> None:
        """Note something that works and should not be."""
        self.warnings.append(f"{dotted(path)}: {text}")

    def finish(self) -> None:
        """Raise ``ConfigMistakes`` if there are any."""
        if self.mistakes:
            raise ConfigMistakes(self.mistakes)
