"""Keys for reading captures, in Wireshark's own tables: ``esp_sa`` and ``ikev1_decryption_table`` (``--keylog`` writes both).

What cannot be read is told by row and skipped: a table that somebody else filled may have transforms that nobody here speaks.
"""

from __future__ import annotations

import csv
import hashlib
import hmac
import ipaddress
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.decrepit.ciphers.algorithms import TripleDES
from cryptography.hazmat.primitives.ciphers import Cipher as Block
from cryptography.hazmat.primitives.ciphers import algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from headrace.errors import HeadraceError
from headrace.model import Auth, Cipher
from headrace.shell.keylog import AUTH_NAMES, CIPHER_NAMES, ESP_FILE, IKE_FILE

ROWS_MAX: Final = 100_000
"""Rows of a table that are read."""
FIELD_MAX: Final = 4096

_CIPHERS: Final = {name.split(" [")[0]: cipher for cipher, name in CIPHER_NAMES.items()} | {"AES-GCM": Cipher.AES_GCM16}
_AUTHS: Final = {name.split(" [")[0]: auth for auth, name in AUTH_NAMES.items()} | {
    "HMAC-SHA-1-96": Auth.HMAC_SHA1_96,
    "HMAC-SHA-256-96": Auth.HMAC_SHA2_256_96,
}
HASHES: Final[dict[Auth, tuple[str, int]]] = {
    Auth.HMAC_MD5_96: ("md5", 12),
    Auth.HMAC_SHA1_96: ("sha1", 12),
    Auth.HMAC_SHA2_256_128: ("sha256", 16),
    Auth.HMAC_SHA2_256_96: ("sha256", 12),
    Auth.HMAC_SHA2_384_192: ("sha384", 24),
    Auth.HMAC_SHA2_512_256: ("sha512", 32),
}
_KEY_OCTETS: Final = {Cipher.NULL: (0,), Cipher.DES_CBC: (8,), Cipher.TRIPLE_DES_CBC: (24,), Cipher.AES_CBC: (16, 24, 32)} | {
    Cipher.AES_GCM16: (20, 28, 36)
}


class BadKeys(HeadraceError):
    """A table of keys cannot be read at all."""


class NotOpened(HeadraceError):
    """An ESP packet that its key does not open."""


@dataclass(frozen=True, slots=True)
class Opened:
    """The inside of an ESP packet."""

    payload: bytes
    """Without padding and trailer."""
    iv: int
    """Octets of the IV."""
    icv: int
    padding: int
    next_header: int


@dataclass(frozen=True, slots=True)
class EspKey:
    """One row of ``esp_sa``: one direction of an SA."""

    spi: int
    cipher: Cipher
    auth: Auth
    destination: bytes | None
    """Packed; ``None`` where the row has a wildcard."""
    key: bytes = field(repr=False)
    auth_key: bytes = field(repr=False)

    @property
    def label(self) -> str:
        """Transforms for a person."""
        cipher = CIPHER_NAMES[self.cipher].split(" [")[0]
        return cipher if self.auth is Auth.NONE else f"{cipher}, {AUTH_NAMES[self.auth].split(' [')[0]}"

    def open(self, esp: bytes) -> Opened:
        """Verify and decrypt a packet from its SPI on. Raises ``NotOpened``."""
        if self.cipher is Cipher.AES_GCM16:
            text, iv, icv = self._open_gcm(esp)
        else:
            text, iv, icv = self._open_cbc(esp)
        if len(text) < 2 or text[-2] + 2 > len(text):
            raise NotOpened(f"SPI {self.spi:08x}: the ESP trailer makes no sense")
        padding = text[-2]
        return Opened(text[: len(text) - 2 - padding], iv, icv, padding, text[-1])

    def _open_gcm(self, esp: bytes) -> tuple[bytes, int, int]:
        if len(esp) < 8 + 8 + 16:
            raise NotOpened(f"SPI {self.spi:08x}: {len(esp)} octets are too few")
        try:
            return AESGCM(self.key[:-4]).decrypt(self.key[-4:] + esp[8:16], esp[16:], esp[:8]), 8, 16
        except InvalidTag:
            raise NotOpened(f"SPI {self.spi:08x}: the ICV does not verify with the key of the log") from None

    def _open_cbc(self, esp: bytes) -> tuple[bytes, int, int]:
        name, icv = HASHES.get(self.auth, ("", 0))
        body, tag = (esp[:-icv], esp[-icv:]) if icv else (esp, b"")
        block = {Cipher.NULL: 0, Cipher.AES_CBC: 16}.get(self.cipher, 8)
        if len(body) < 8 + 2 * block or (block and (len(body) - 8) % block):
            raise NotOpened(f"SPI {self.spi:08x}: {len(esp)} octets do not fit {self.label}")
        if icv and not hmac.compare_digest(hmac.digest(self.auth_key, body, name)[:icv], tag):
            raise NotOpened(f"SPI {self.spi:08x}: the ICV does not verify with the key of the log")
        if not block:
            return body[8:], 0, icv
        if self.cipher is Cipher.AES_CBC:
            decryptor = Block(algorithms.AES(self.key), modes.CBC(body[8:24])).decryptor()
        else:
            key = self.key * 3 if self.cipher is Cipher.DES_CBC else self.key
            decryptor = Block(TripleDES(key), modes.CBC(body[8:16])).decryptor()
        return decryptor.update(body[8 + block :]) + decryptor.finalize(), block, icv


@dataclass(slots=True)
class Keys:
    """Everything that opens something."""

    ike: dict[bytes, bytes] = field(default_factory=dict, repr=False)
    """Initiator cookie to encryption key."""
    esp: dict[int, list[EspKey]] = field(default_factory=dict, repr=False)
    """By SPI; several machines may have chosen the same."""
    psk: bytes = field(default=b"", repr=False)
    """Checked against the hashes of main mode; opens nothing by itself, for a Diffie-Hellman secret belongs to it."""
    password: str = field(default="", repr=False)
    """Of the user: opens MPPE."""
    problems: list[str] = field(default_factory=list)

    def find(self, spi: int, destination: bytes) -> EspKey | None:
        """The key of a packet."""
        rows = self.esp.get(spi)
        if rows is None:
            return None
        return next((row for row in rows if row.destination in {None, destination}), rows[0])

    def __bool__(self) -> bool:
        return bool(self.ike or self.esp)


def read_directory(directory: Path, keys: Keys) -> None:
    """Read both tables of a key log. Raises ``BadKeys`` if neither is there."""
    found = [name for name in (ESP_FILE, IKE_FILE) if (directory / name).is_file()]
    if not found:
        raise BadKeys(
            f"{directory} has neither {ESP_FILE} nor {IKE_FILE}; it is the directory that --keylog or log.keylog_dir names"
        )
    for name in found:
        (read_esp if name == ESP_FILE else read_ike)(directory / name, keys)


def read_esp(path: Path, keys: Keys) -> None:
    """Read Wireshark's ``esp_sa``. Raises ``BadKeys`` if it is no such table; rows that cannot be read are told and skipped."""
    for number, row in _rows(path):
        try:
            key = _esp_row(row)
        except ValueError as error:
            keys.problems.append(f"{path.name} row {number}: {error}")
            continue
        keys.esp.setdefault(key.spi, []).append(key)


def read_ike(path: Path, keys: Keys) -> None:
    """Read Wireshark's ``ikev1_decryption_table``. As ``read_esp``."""
    for number, row in _rows(path):
        try:
            cookie, key = _ike_row(row)
            keys.ike[cookie] = key
        except ValueError as error:
            keys.problems.append(f"{path.name} row {number}: {error}")


def _rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    try:
        with path.open(encoding="utf-8", newline="") as stream:
            for number, row in enumerate(csv.reader(stream), 1):
                if number > ROWS_MAX:
                    raise BadKeys(f"{path} has more than {ROWS_MAX} rows")
                if row and not row[0].startswith("#"):
                    yield number, row
    except (csv.Error, UnicodeDecodeError) as error:
        raise BadKeys(f"{path} is no table of keys: {error}") from None


def _ike_row(row: list[str]) -> tuple[bytes, bytes]:
    if len(row) < 2:
        raise ValueError(f"{len(row)} columns, 2 expected")
    cookie, key = (bytes.fromhex(cell.strip()) for cell in row[:2])
    if len(cookie) != 8:
        raise ValueError(f"a cookie of {len(cookie)} octets")
    return cookie, key


def _esp_row(row: list[str]) -> EspKey:
    if len(row) < 8:
        raise ValueError(f"{len(row)} columns, 8 expected")
    _, _, destination, spi, cipher_name, key, auth_name, auth_key = (cell.strip() for cell in row[:8])
    if "*" in spi:
        raise ValueError("an SPI with a wildcard is not read here")
    cipher = _CIPHERS.get(cipher_name.split(" [")[0])
    if cipher is None and cipher_name.startswith("AES-GCM with 16"):
        cipher = Cipher.AES_GCM16
    auth = _AUTHS.get(auth_name.split(" [")[0])
    if cipher is Cipher.AES_GCM16:
        auth = Auth.NONE
    if cipher is None or auth is None:
        raise ValueError(f"transform {cipher_name if cipher is None else auth_name} is not known here")
    secret = _key(key)
    if len(secret) not in _KEY_OCTETS[cipher]:
        raise ValueError(f"a key of {len(secret)} octets for {cipher_name}")
    packed = None if "*" in destination else ipaddress.ip_address(destination).packed
    return EspKey(int(spi, 0), cipher, auth, packed, secret, _key(auth_key))


def _key(text: str) -> bytes:
    """Hexadecimal behind 0x, else the characters themselves, as Wireshark takes them."""
    return bytes.fromhex(text[2:]) if text.lower().startswith("0x") else text.encode()


def fingerprint(data: bytes) -> bytes:
    """A short name for octets that may come again."""
    return hashlib.blake2b(data, digest_size=12).digest()
