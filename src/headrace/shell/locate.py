"""On which line of a TOML text each key stands. ``tomllib`` gives values without their places; a mistake without a line is no help.

The scanner is lenient: it reads what ``tomllib`` accepts, and on anything else it stops and keeps what it has found so far.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from typing import TypeAlias

Path: TypeAlias = tuple[str | int, ...]

_ESCAPES = {"b": "\b", "t": "\t", "n": "\n", "f": "\f", "r": "\r", '"': '"', "\\": "\\"}


@dataclass(slots=True)
class Lines:
    """Where things stand; lines count from 1."""

    first: dict[Path, int] = field(default_factory=dict)
    """A key, a table or an element of a list, by its path: the line where it stands first."""
    again: dict[Path, int] = field(default_factory=dict)
    """The same, for what is there twice: the line of the second."""

    def of(self, path: Path) -> int:
        """Give the line of a path, or of the nearest thing around it, or 1."""
        for end in range(len(path), 0, -1):
            line = self.first.get(path[:end])
            if line is not None:
                return line
        return 1


class _Stop(Exception):
    pass


class _Scanner:
    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.lines = Lines()
        self.implied: set[Path] = set()
        self._counted = 0
        self._line = 1
        self.arrays: dict[Path, int] = {}
        """Arrays of tables: how many elements so far."""

    def line(self) -> int:
        """Give the line of the place that is being read. Counts on from the last call, so that a long file costs no more than its length."""
        self._line += self.text.count("\n", self._counted, self.at)
        self._counted = self.at
        return self._line

    def peek(self, length: int = 1) -> str:
        return self.text[self.at : self.at + length]

    def skip(self, characters: str) -> None:
        while self.at < len(self.text) and self.text[self.at] in characters:
            self.at += 1

    def skip_between(self) -> None:
        """Skip blanks, line ends and comments."""
        while True:
            self.skip(" \t\r\n")
            if self.peek() != "#":
                return
            end = self.text.find("\n", self.at)
            self.at = len(self.text) if end < 0 else end

    def expect(self, token: str) -> None:
        if self.peek(len(token)) != token:
            raise _Stop
        self.at += len(token)

    def note(self, path: Path, line: int) -> None:
        """Something stands here in its own right."""
        if path in self.lines.first and path not in self.implied:
            self.lines.again.setdefault(path, line)
        else:
            self.lines.first[path] = line
            self.implied.discard(path)

    def imply(self, path: Path, line: int) -> None:
        """A table is there because something in it is; its own header may still follow."""
        if path not in self.lines.first:
            self.lines.first[path] = line
            self.implied.add(path)

    def string(self) -> str:
        quote = self.peek()
        if self.peek(3) == quote * 3:
            self.at += 3
            while self.at < len(self.text):
                if quote == '"' and self.peek() == "\\":
                    self.at += 2
                elif self.peek(3) == quote * 3:
                    self.at += 3
                    self.skip(quote)  # a closing quote may follow one or two that belong to the text
                    return ""
                else:
                    self.at += 1
            raise _Stop
        self.at += 1
        out: list[str] = []
        while self.at < len(self.text):
            c = self.text[self.at]
            if c == "\n":
                break
            self.at += 1
            if c == quote:
                return "".join(out)
            if c == "\\" and quote == '"':
                c = _ESCAPES.get(self.peek(), self.peek())
                self.at += 1
            out.append(c)
        raise _Stop

    def key(self) -> Path:
        parts: list[str] = []
        while True:
            self.skip(" \t")
            if self.peek() in {'"', "'"} and self.peek():
                parts.append(self.string())
            else:
                begin = self.at
                while self.at < len(self.text) and (self.text[self.at].isalnum() or self.text[self.at] in "-_"):
                    self.at += 1
                if begin == self.at:
                    raise _Stop
                parts.append(self.text[begin : self.at])
            self.skip(" \t")
            if self.peek() != ".":
                return tuple(parts)
            self.at += 1

    def value(self, path: Path, depth: int) -> None:
        if depth > 100:
            raise _Stop
        opening = self.peek()
        if opening and opening in "\"'":
            self.string()
        elif opening == "[":
            self.at += 1
            index = 0
            while True:
                self.skip_between()
                if self.peek() == "]":
                    self.at += 1
                    return
                self.note((*path, index), self.line())
                self.value((*path, index), depth + 1)
                index += 1
                self.skip_between()
                if self.peek() == ",":
                    self.at += 1
                elif self.peek() != "]":
                    raise _Stop
        elif opening == "{":
            self.at += 1
            self.skip_between()
            while self.peek() != "}":
                self.pair(path, depth + 1)
                self.skip_between()
                if self.peek() == ",":
                    self.at += 1
                    self.skip_between()
                elif self.peek() != "}":
                    raise _Stop
            self.at += 1
        else:
            begin = self.at
            while self.at < len(self.text) and self.text[self.at] not in ",]}#\r\n":
                self.at += 1
            if begin == self.at:
                raise _Stop

    def pair(self, table: Path, depth: int = 0) -> None:
        line = self.line()
        key = self.key()
        path = (*table, *key)
        for end in range(len(table) + 1, len(path)):
            self.imply(path[:end], line)
        self.note(path, line)
        self.expect("=")
        self.skip(" \t")
        self.value(path, depth)

    def header(self) -> Path:
        line = self.line()
        many = self.peek(2) == "[["
        self.at += 2 if many else 1
        key = self.key()
        self.expect("]]" if many else "]")
        path: Path = ()
        for position, part in enumerate(key):
            path = (*path, part)
            last = position == len(key) - 1
            if last and many:
                index = self.arrays.get(path, 0)
                self.arrays[path] = index + 1
                self.imply(path, line)
                path = (*path, index)
            elif path in self.arrays:
                path = (*path, self.arrays[path] - 1)
            if last:
                self.note(path, line)
            else:
                self.imply(path, line)
        return path

    def run(self) -> None:
        table: Path = ()
        while True:
            self.skip_between()
            if self.at >= len(self.text):
                return
            if self.peek() == "[":
                table = self.header()
            else:
                self.pair(table)


def locate(text: str) -> Lines:
    """Find the line of every key, table and list element of a TOML text."""
    scanner = _Scanner(text)
    with suppress(_Stop):
        scanner.run()
    return scanner.lines
