"""Secrets in files of their own: who may read them, and what counts as the secret.

A name ``credential:NAME`` stands for a systemd credential, ``$CREDENTIALS_DIRECTORY/NAME``. One line end at the end of the file belongs
to the file, not to the secret; nothing else is ever trimmed.
"""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING, Final

from headrace.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

SECRET_MAX: Final = 4096
"""Octets; no pre-shared key or password is longer."""
PSK_SHORT: Final = 20
"""Characters below which a pre-shared key can be guessed from one recorded handshake."""
PSK_TRIVIAL: Final = 8
COMMON_PSKS: Final = frozenset(
    b"vpn vpnvpn vpn1234 vpn12345 vpn123456 l2tp l2tpipsec ipsec secret password passw0rd password1 preshared presharedkey psk sharedkey "
    b"1234 12345 123456 1234567 12345678 123456789 1234567890 87654321 11111111 00000000 qwerty qwertyui qwertyuiop letmein changeme "
    b"default admin administrator test testing test1234 headrace mikrotik softether vpngate welcome welcome1".split()
)


class SecretError(ConfigError):
    """A secret's file cannot be used."""

    def __init__(self, reason: str, remedy: str) -> None:
        super().__init__(f"{reason}; {remedy}")
        self.reason = reason
        self.remedy = remedy


def secret_path(name: str, base: Path) -> Path:
    """Turn a configured name into a path: ``credential:NAME``, absolute, or relative to ``base``. Raises ``SecretError``."""
    if not name.startswith("credential:"):
        return base / name
    credential = name.removeprefix("credential:")
    directory = os.environ.get("CREDENTIALS_DIRECTORY")
    if not credential or "/" in credential or credential.startswith("."):
        raise SecretError(f"{credential!r} is not the name of a credential", "write credential:NAME")
    if not directory:
        raise SecretError("systemd passed no credentials", f"start the gateway as a unit with LoadCredential={credential}:...")
    return base / directory / credential


def check_private(path: Path, descriptor: int | None = None) -> os.stat_result:
    """Refuse a secret's file that others may read or change. Raises ``SecretError``."""
    try:
        status = os.fstat(descriptor) if descriptor is not None else path.stat()
    except FileNotFoundError:
        raise SecretError(
            f"{path} does not exist", f"create it: (umask 077; head -c 24 /dev/urandom | base64 > {path})"
        ) from None
    except OSError as error:
        raise SecretError(f"{path}: {error.strerror}", "let the gateway's user read it") from None
    if not stat.S_ISREG(status.st_mode):
        raise SecretError(f"{path} is not a file", "name a file")
    if status.st_mode & (stat.S_IRWXO | stat.S_IWGRP):
        mode = stat.S_IMODE(status.st_mode)
        raise SecretError(f"{path} can be read or changed by others (mode {mode:04o})", f"run chmod 600 {path}")
    if status.st_uid not in {0, os.geteuid()}:
        raise SecretError(f"{path} belongs to user {status.st_uid}", f"run chown {os.geteuid()} {path}")
    return status


def read_secret(path: Path) -> bytes:
    """Read a secret. Raises ``SecretError`` if the file is missing, open to others, empty, or too large."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError:
        check_private(path)  # says why, in most cases
        raise SecretError(f"{path} cannot be read", "let the gateway's user read it") from None
    try:
        check_private(path, descriptor)
        data = os.read(descriptor, SECRET_MAX + 2)
    finally:
        os.close(descriptor)
    data = data.removesuffix(b"\n").removesuffix(b"\r") if data.endswith(b"\n") else data
    if not data:
        raise SecretError(
            f"{path} is empty", f"write the secret into it: (umask 077; head -c 24 /dev/urandom | base64 > {path})"
        )
    if len(data) > SECRET_MAX:
        raise SecretError(f"{path} is longer than {SECRET_MAX} octets", "name the file that holds the secret alone")
    return data


def judge_psk(key: bytes, *, lab: bool = False) -> str | None:
    """Judge a pre-shared key: ``None`` if it is good, a warning if it works but is weak. Raises ``SecretError`` for one that is refused.

    Refused: empty, control characters, blanks at the ends (people type the key anew and lose them), fewer than 8 octets, or a word that
    every scanner tries; the last two are only warnings with ``lab``. Warned of: fewer than 20 octets, and anything outside of ASCII.
    """
    if not key:
        raise SecretError("the pre-shared key is empty", "make one: head -c 24 /dev/urandom | base64")
    if any(octet < 0x20 or octet == 0x7F for octet in key):
        raise SecretError("the pre-shared key contains control characters or several lines", "write it on one line")
    if key != key.strip(b" \t"):
        raise SecretError("the pre-shared key begins or ends with a blank", "remove it on both sides; nothing is trimmed here")
    if len(key) < PSK_TRIVIAL or key.lower() in COMMON_PSKS:
        reason = "the pre-shared key is one of the first that a scanner tries"
        remedy = "make one of 20 characters or more: head -c 24 /dev/urandom | base64"
        if not lab:
            raise SecretError(reason, remedy)
        return f"{reason}; {remedy}"
    if len(key) < PSK_SHORT:
        return f"the pre-shared key has {len(key)} characters and can be guessed from one recorded handshake; take 20 or more"
    if not key.isascii():
        return "the pre-shared key has letters outside of ASCII, which clients encode differently"
    return None
