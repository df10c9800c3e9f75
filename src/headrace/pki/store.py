"""Files of a small CA: written whole or not at all, private where they hold keys, changed by one process at a time."""

from __future__ import annotations

import fcntl
import json
import os
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from headrace.errors import LocalError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PRIVATE: Final = 0o600
PUBLIC: Final = 0o644

INDEX_VERSION: Final = 1


def write_atomically(path: Path, data: bytes, mode: int = PUBLIC) -> None:
    """Put ``data`` into a file: readers see the old or the new one, whole, even if the machine stops in between.

    The file never has more rights than ``mode``, not even for a moment. Raises ``OSError``.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.new")
    temporary.unlink(missing_ok=True)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fchmod(file.fileno(), mode)
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


@contextmanager
def locked(directory: Path) -> Iterator[None]:
    """Keep other processes from changing the CA meanwhile. Raises ``OSError``."""
    with (directory / ".lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@dataclass(frozen=True, slots=True)
class Record:
    """One certificate that was issued."""

    serial: str
    """Hexadecimal, without leading zeros."""
    kind: str
    """``gateway`` or ``client``."""
    name: str
    """The common name."""
    names: tuple[str, ...]
    """What the subjectAltName holds: host names, addresses, mail addresses."""
    not_before: str
    """Times are ISO 8601 in UTC."""
    not_after: str
    revoked_at: str = ""
    """Empty if it is not revoked."""
    reason: str = ""

    @property
    def revoked(self) -> bool:
        """Whether it is in the revocation list."""
        return bool(self.revoked_at)

    def expired(self, now: datetime) -> bool:
        """Whether its time is over."""
        return now > datetime.fromisoformat(self.not_after)


@dataclass(frozen=True, slots=True)
class Index:
    """The book of a CA."""

    crl_number: int = 0
    """Of the last revocation list."""
    issued: tuple[Record, ...] = field(default=())
    """Oldest first."""

    def revoke(self, serial: str, at: datetime, reason: str) -> Index:
        """The book with one certificate revoked."""
        stamp = at.astimezone(UTC).isoformat(timespec="seconds")
        return replace(
            self, issued=tuple(replace(r, revoked_at=stamp, reason=reason) if r.serial == serial else r for r in self.issued)
        )

    def find(self, which: str) -> Record:
        """The record of a serial number, or the newest of a name that is not revoked. Raises ``LocalError``."""
        wanted = which.lower().removeprefix("0x").replace(":", "").lstrip("0")
        for record in self.issued:
            if record.serial == wanted:
                return record
        named = [record for record in self.issued if which.lower() in {record.name.lower(), *(n.lower() for n in record.names)}]
        living = [record for record in named if not record.revoked]
        if living:
            return living[-1]
        if named:
            raise LocalError(f"every certificate for {which} is revoked already")
        raise LocalError(f"no certificate has the serial number or name {which}; `headrace pki list` shows all")


def read_index(path: Path) -> Index:
    """The book from its file. Raises ``LocalError`` if it is damaged or of a later version, ``OSError`` if it cannot be read."""
    try:
        raw: dict[str, Any] = json.loads(path.read_bytes())
        if raw["version"] != INDEX_VERSION:
            raise LocalError(f"{path} is of version {raw['version']}, this program knows version {INDEX_VERSION}")
        records = tuple(Record(**{**record, "names": tuple(record["names"])}) for record in raw["issued"])
        return Index(int(raw["crl_number"]), records)
    except (ValueError, KeyError, TypeError) as error:
        raise LocalError(f"{path} is damaged ({error!r}); restore it from a backup") from error


def write_index(path: Path, index: Index) -> None:
    """The book into its file. Raises ``OSError``."""
    raw = {"version": INDEX_VERSION, "crl_number": index.crl_number, "issued": [asdict(record) for record in index.issued]}
    write_atomically(path, json.dumps(raw, indent=1, ensure_ascii=False).encode() + b"\n", PRIVATE)
