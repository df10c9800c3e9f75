"""What several commands share: options, output, secrets from where they are safe."""

from __future__ import annotations

import json
import os
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from headrace.cli.exits import SYSTEM, CommandError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

DEFAULT_CONFIG: Final = Path("/etc/headrace/gateway.toml")

ConfigOption = Annotated[
    Path,
    typer.Option("--config", "-c", envvar="HEADRACE_CONFIG", help="The gateway's configuration file.", show_default=True),
]
MaybeConfigOption = Annotated[
    Path | None,
    typer.Option(
        "--config", "-c", envvar="HEADRACE_CONFIG", help=f"Configuration that says where; {DEFAULT_CONFIG} if it exists."
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@contextmanager
def starting() -> Iterator[None]:
    """What this machine does not give to a gateway or a client that starts is exit code 3; a wrong configuration stays 2."""
    from headrace.errors import ConfigError, HeadraceError

    try:
        yield
    except ConfigError:
        raise
    except HeadraceError as error:
        raise CommandError(str(error), code=SYSTEM) from None


def print_json(data: Any) -> None:
    """Print one JSON document."""
    print(json.dumps(data, indent=2, default=str))


def table(columns: Sequence[str], rows: Iterable[Sequence[Any]], *, right: Iterable[int] = ()) -> None:
    """Print rows under headings: in columns that fit the terminal, or as wide as they are when piped."""
    cells = [[str(cell) if cell is not None else "" for cell in row] for row in rows]
    if sys.stdout.isatty():
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text

        shown = Table(box=None, pad_edge=False, header_style="bold")
        for i, name in enumerate(columns):
            shown.add_column(name, justify="right" if i in right else "left", overflow="fold")
        for row in cells:
            shown.add_row(*(Text(cell) for cell in row))
        Console().print(shown)
        return
    widths = [max(len(line[i]) for line in [list(columns), *cells]) for i in range(len(columns))]
    for line in [list(columns), *cells]:
        parts = (
            cell.rjust(width) if i in right else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(line, widths, strict=True))
        )
        print("  ".join(parts).rstrip())


def facts(pairs: Iterable[tuple[str, Any]]) -> None:
    """Print names and values, one a line; what is empty is left out."""
    shown = [(name, str(value)) for name, value in pairs if value not in (None, "", ())]
    width = max((len(name) for name, _ in shown), default=0)
    for name, value in shown:
        print(f"{name.ljust(width)}  {value}")


def refuse_secret(value: str | None, option: str, instead: str) -> None:
    """Refuse a secret on the command line, where everyone on the machine can read it (N205)."""
    if value is not None:
        raise CommandError(f"{option}: everyone on this machine can read a command line", f"use {instead}")


def secret_from_file(path: Path) -> bytes:
    """Read a secret from a file that nobody else may read, or from standard input for ``-``."""
    from headrace.shell.secretfile import SECRET_MAX, SecretError, read_secret

    if str(path) == "-":
        data = sys.stdin.buffer.read(SECRET_MAX + 2).removesuffix(b"\n").removesuffix(b"\r")
        if not data:
            raise CommandError("standard input held no secret", "pipe it in")
        return data
    try:
        return read_secret(path)
    except SecretError as error:
        raise CommandError(error.reason, error.remedy) from None


def text_of(data: bytes, what: str) -> str:
    """Read a secret as text."""
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise CommandError(f"{what} is not UTF-8", "save it as UTF-8") from None


def password_from(path: Path | None, variable: str, prompt: str, *, confirm: bool = False) -> str:
    """Get a password: from a file, from the environment, else by asking at the terminal."""
    if path is not None:
        return text_of(secret_from_file(path), str(path))
    given = os.environ.get(variable)
    if given is not None:
        return given
    if not sys.stdin.isatty():
        raise CommandError("there is no password and no terminal to ask at", f"use --password-file FILE, or set {variable}")
    import getpass

    first = getpass.getpass(f"{prompt}: ")
    if confirm and getpass.getpass("Once more: ") != first:
        raise CommandError("the two differ", "try again")
    return first
