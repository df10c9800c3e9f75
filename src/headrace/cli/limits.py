"""``--limit KEY=VALUE``: the finer settings of accounts and groups, and the CSV form of accounts."""

from __future__ import annotations

import csv
import io
import re
from typing import TYPE_CHECKING, Any, Final

from headrace.cli.exits import CommandError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from headrace.access.accounts import User

_SIZE: Final = re.compile(r"([0-9]{1,12})\s*([kKmMgGtT]?)", re.ASCII)
_UNITS: Final = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}
_TIME: Final = re.compile(r"([0-9]{1,9})\s*([smhd]?)", re.ASCII)
_SECONDS: Final = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}


def _size(text: str) -> int:
    found = _SIZE.fullmatch(text)
    if found is None:
        raise ValueError("a number, with k, M, G or T behind it for thousands")
    return int(found[1]) * _UNITS[found[2].lower()]


def _time(text: str) -> int:
    found = _TIME.fullmatch(text)
    if found is None:
        raise ValueError("a number of seconds, or one with m, h or d behind it")
    return int(found[1]) * _SECONDS[found[2]]


def _yes(text: str) -> bool:
    if text not in {"yes", "no"}:
        raise ValueError("yes or no")
    return text == "yes"


KINDS: Final[dict[str, Callable[[str], Any]]] = {
    "replace": _yes,
    "gateways": str,
    "session-time": _time,
    "idle-time": _time,
    "quota-octets": _size,
    "quota-time": _time,
    "quota-period": str,
    "rate-up": _size,
    "rate-down": _size,
    "filters": str,
}
"""What may stand before the equals sign, and how what is behind it is read."""


def parse_limits(texts: Iterable[str], *, user: bool = False) -> dict[str, Any]:
    """Read ``KEY=VALUE``; ``inherit`` takes a setting away. Raises ``CommandError``."""
    from headrace.access.accounts import parse_prefix6  # brings the store's cryptography along, which --help can do without

    kinds = {**KINDS, "prefix6": parse_prefix6} if user else KINDS
    out: dict[str, Any] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if key not in kinds or not equals:
            raise CommandError(f"--limit {text!r}", f"write KEY=VALUE with one of {', '.join(kinds)}")
        try:
            out[key.replace("-", "_")] = None if value in {"inherit", "none"} and key != "filters" else kinds[key](value)
        except ValueError as error:
            raise CommandError(f"--limit {key}={value}", f"write {error}") from None
        if key == "filters" and value == "inherit":
            out["filters"] = None
    return out


COLUMNS: Final = ("name", "password", "group", "comment", "address", "prefix6", "sessions", "hours", *KINDS)
"""Of a CSV file; ``password`` is never written."""


def write_csv(users: Iterable[User]) -> str:
    """Accounts as CSV, without any secret."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(COLUMNS)
    for user in users:
        grants = {name: getattr(user.grants, name.replace("-", "_")) for name in ("sessions", "hours", *KINDS)}
        if grants["replace"] is not None:
            grants["replace"] = "yes" if grants["replace"] else "no"
        group = user.group.name if user.group is not None else ""
        told = [user.name, "", group, user.comment, user.address, user.prefix6, *grants.values()]
        writer.writerow(["" if value is None else str(value) for value in told])
    return out.getvalue()


def read_csv(path: Path) -> list[tuple[int, dict[str, str]]]:
    """Rows of a CSV file with their lines: its first row names the columns, ``name`` and ``password`` at least. Raises ``CommandError``."""
    try:
        reader = csv.DictReader(io.StringIO(path.read_text("utf-8-sig"), newline=""), strict=True)
        names = reader.fieldnames or ()
        unknown = set(names) - set(COLUMNS)
        if unknown or not {"name", "password"} <= set(names):
            raise CommandError(
                f"{path}:1: the first row must name columns", f"at least name,password; known: {', '.join(COLUMNS)}"
            )
        rows = [(reader.line_num, {key: value or "" for key, value in row.items() if key is not None}) for row in reader]
    except UnicodeDecodeError:
        raise CommandError(f"{path} is not UTF-8", "save it as UTF-8") from None
    except csv.Error as error:
        raise CommandError(f"{path} is not CSV: {error}", "see `headrace account export --csv`") from None
    return rows
