"""Session keys in Wireshark's own files, on request only: copy both into its profile folder and the capture opens itself.

``ikev1_decryption_table``: initiator cookie and encryption key of each phase 1. ``esp_sa``: one line for each direction of each SA.
"""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING, Final, Self

from headrace.model import Auth, Cipher
from headrace.shell.secretfile import SecretError

if TYPE_CHECKING:
    from pathlib import Path

    from headrace.stack.events import EspKey

IKE_FILE: Final = "ikev1_decryption_table"
ESP_FILE: Final = "esp_sa"

CIPHER_NAMES: Final = {
    Cipher.NULL: "NULL",
    Cipher.DES_CBC: "DES-CBC [RFC2405]",
    Cipher.TRIPLE_DES_CBC: "TripleDES-CBC [RFC2451]",
    Cipher.AES_CBC: "AES-CBC [RFC3602]",
    Cipher.AES_GCM16: "AES-GCM with 16 octet ICV [RFC4106]",
}
AUTH_NAMES: Final = {
    Auth.NONE: "NULL",
    Auth.HMAC_MD5_96: "HMAC-MD5-96 [RFC2403]",
    Auth.HMAC_SHA1_96: "HMAC-SHA-1-96 [RFC2404]",
    Auth.HMAC_SHA2_256_128: "HMAC-SHA-256-128 [RFC4868]",
    Auth.HMAC_SHA2_384_192: "HMAC-SHA-384-192 [RFC4868]",
    Auth.HMAC_SHA2_512_256: "HMAC-SHA-512-256 [RFC4868]",
    Auth.HMAC_SHA2_256_96: "HMAC-SHA-256-96 [draft-ietf-ipsec-ciph-sha-256-00]",
}


def ike_line(initiator_cookie: bytes, key: bytes) -> str:
    """Write one row of ``ikev1_decryption_table``."""
    return f"{initiator_cookie.hex()},{key.hex()}"


def esp_line(key: EspKey) -> str:
    """Write one row of ``esp_sa``. Raises ``ValueError`` for a transform that does not exist."""
    fields = (
        "IPv4" if key.source.address.version == 4 else "IPv6",
        str(key.source.address),
        str(key.destination.address),
        f"0x{key.spi:08x}",
        CIPHER_NAMES[Cipher(key.cipher)],
        f"0x{key.enc_key.hex()}" if key.enc_key else "",
        AUTH_NAMES[Auth(key.auth)],
        f"0x{key.auth_key.hex()}" if key.auth_key else "",
    )
    return ",".join(f'"{text}"' for text in fields)


class KeyLog:
    """The two files, opened for the life of a process. Lines are written at once, so that a live capture can use them."""

    def __init__(self, directory: Path) -> None:
        """Create the directory (mode 0700) and the files (0600) if need be. Raises ``SecretError`` where others could read them."""
        try:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._ike = _open(directory / IKE_FILE)
            try:
                self._esp = _open(directory / ESP_FILE)
            except BaseException:
                os.close(self._ike)
                raise
        except OSError as error:
            raise SecretError(f"key log {directory}: {error.strerror}", "name a directory that can be written to") from None

    def ike(self, initiator_cookie: bytes, key: bytes) -> None:
        """Note the encryption key of a phase 1."""
        _append(self._ike, ike_line(initiator_cookie, key))

    def esp(self, key: EspKey) -> None:
        """Note the keys of one direction of an SA."""
        _append(self._esp, esp_line(key))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close both files. Harmless when done twice."""
        for name in ("_ike", "_esp"):
            descriptor = getattr(self, name)
            if descriptor >= 0:
                os.close(descriptor)
                setattr(self, name, -1)


def _open(path: Path) -> int:
    """Open for appending; a file that is already there must be ours alone, and no link."""
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    status = os.fstat(descriptor)
    if status.st_mode & 0o077 or status.st_uid != os.geteuid():
        os.close(descriptor)
        raise SecretError(f"{path} can be read by others", f"remove it, or run chmod 600 {path}")
    return descriptor


def _append(descriptor: int, line: str) -> None:
    if descriptor >= 0:
        with suppress(OSError):  # a full disk must not end a session
            os.write(descriptor, line.encode() + b"\n")
