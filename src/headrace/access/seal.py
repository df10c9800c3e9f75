"""Sealing what the store keeps: AES-256-GCM under a key that lies in a file of its own, not in the database.

Layout of a sealed value: version (1) | nonce (12) | ciphertext and tag. What it belongs to (column and account) is authenticated with it,
so that nobody who can write to the database moves one account's secret to another.
"""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING, Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from headrace.errors import HeadraceError

if TYPE_CHECKING:
    from pathlib import Path

_VERSION: Final = b"\x01"
_NONCE: Final = 12
_KEY: Final = 32


class StoreError(HeadraceError):
    """The accounts cannot be read or changed. Nobody is let in on account of that."""

    def __init__(self, reason: str, remedy: str) -> None:
        super().__init__(f"{reason}; {remedy}")
        self.reason = reason
        self.remedy = remedy


class Seal:
    """Seals and opens values."""

    __slots__ = ("_aead",)

    def __init__(self, key: bytes) -> None:
        self._aead = AESGCM(key)

    def close(self, value: bytes, what: str) -> bytes:
        """Seal a value; ``what`` names its column and account."""
        nonce = os.urandom(_NONCE)
        return _VERSION + nonce + self._aead.encrypt(nonce, value, _VERSION + what.encode())

    def open(self, sealed: bytes, what: str) -> bytes:
        """Open a sealed value. Raises ``StoreError`` if it was changed, moved, or sealed under another key."""
        if sealed[:1] != _VERSION or len(sealed) < 1 + _NONCE + 16:
            raise StoreError(f"{what} in the accounts database is not a sealed value", "restore the database from a backup")
        try:
            return self._aead.decrypt(sealed[1 : 1 + _NONCE], sealed[1 + _NONCE :], _VERSION + what.encode())
        except InvalidTag:
            raise StoreError(
                f"{what} in the accounts database does not open", "restore database and key file from the same backup"
            ) from None


def create_key(path: Path) -> Seal:
    """Make a new key file, for nobody else to read. Raises ``StoreError``."""
    key = os.urandom(_KEY)
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            os.write(descriptor, key.hex().encode() + b"\n")
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except FileExistsError:
        return read_key(path)
    except OSError as error:
        raise StoreError(
            f"cannot create {path}: {error.strerror}", "run it as the gateway's user, or set accounts.key_file"
        ) from None
    return Seal(key)


def read_key(path: Path) -> Seal:
    """Read the key file. Raises ``StoreError`` if it is missing, damaged, or open to others."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        raise StoreError(f"the accounts' key {path} is missing", "restore it from the backup of the database") from None
    except OSError as error:
        raise StoreError(f"cannot read {path}: {error.strerror}", "run it as the gateway's user") from None
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode) or status.st_mode & (stat.S_IRWXO | stat.S_IWGRP):
            raise StoreError(f"{path} can be read or changed by others", f"run chmod 600 {path}")
        text = os.read(descriptor, 4 * _KEY).strip()
    finally:
        os.close(descriptor)
    try:
        key = bytes.fromhex(text.decode("ascii"))
    except ValueError:
        key = b""
    if len(key) != _KEY:
        raise StoreError(f"{path} does not hold a key", "restore it from the backup of the database")
    return Seal(key)
