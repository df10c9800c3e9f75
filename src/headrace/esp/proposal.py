"""What may be negotiated for ESP: one transform a proposal, in swanctl's spelling, and the policy tiers.

The wire numbers are those of the IPsec DOI (RFC 2407 section 4.4.4 and 4.5, RFC 3602, 4106, 4868).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from headrace.errors import ConfigError
from headrace.esp.group import GROUPS_BY_KEYWORD, Group
from headrace.model import Auth, Cipher

GCM_SALT: Final = 4
"""Octets of salt behind the key (RFC 4106 section 8.1)."""


@dataclass(frozen=True, slots=True)
class CipherRow:
    """One encryption algorithm of ESP."""

    keyword: str
    cipher: Cipher
    bits: int
    """Key length in bits as negotiated."""
    transform: int
    """Transform identifier of the IPsec DOI."""
    sized: bool
    """Whether a key length attribute names the size."""
    label: str


@dataclass(frozen=True, slots=True)
class AuthRow:
    """One authentication algorithm of ESP."""

    keyword: str
    auth: Auth
    number: int
    """Value of the authentication algorithm attribute; 0 where none is sent."""
    key: int
    """Octets of key."""
    label: str


CIPHERS: Final = (
    CipherRow("aes128", Cipher.AES_CBC, 128, 12, sized=True, label="AES-128"),
    CipherRow("aes192", Cipher.AES_CBC, 192, 12, sized=True, label="AES-192"),
    CipherRow("aes256", Cipher.AES_CBC, 256, 12, sized=True, label="AES-256"),
    CipherRow("aes128gcm16", Cipher.AES_GCM16, 128, 20, sized=True, label="AES-128-GCM"),
    CipherRow("aes192gcm16", Cipher.AES_GCM16, 192, 20, sized=True, label="AES-192-GCM"),
    CipherRow("aes256gcm16", Cipher.AES_GCM16, 256, 20, sized=True, label="AES-256-GCM"),
    CipherRow("3des", Cipher.TRIPLE_DES_CBC, 192, 3, sized=False, label="3DES"),
    CipherRow("des", Cipher.DES_CBC, 64, 2, sized=False, label="DES"),
    CipherRow("null", Cipher.NULL, 0, 11, sized=False, label="NULL"),
)
AUTHS: Final = (
    AuthRow("md5", Auth.HMAC_MD5_96, 1, 16, "MD5"),
    AuthRow("sha1", Auth.HMAC_SHA1_96, 2, 20, "SHA-1"),
    AuthRow("sha256", Auth.HMAC_SHA2_256_128, 5, 32, "SHA-256"),
    AuthRow("sha384", Auth.HMAC_SHA2_384_192, 6, 48, "SHA-384"),
    AuthRow("sha512", Auth.HMAC_SHA2_512_256, 7, 64, "SHA-512"),
    # SHA-256 cut to 96 bits, as early Linux kernels did; a private number that strongSwan and libreswan share.
    AuthRow("sha256_96", Auth.HMAC_SHA2_256_96, 252, 32, "SHA-256-96"),
)
NO_AUTH: Final = AuthRow("", Auth.NONE, 0, 0, "none")
ALIASES: Final[Mapping[str, str]] = MappingProxyType(
    {"aes": "aes128", "sha": "sha1", "sha2_256": "sha256", "sha2_384": "sha384", "sha2_512": "sha512"}
    | {f"aes{bits}gcm128": f"aes{bits}gcm16" for bits in (128, 192, 256)}
)

_CIPHER_BY_KEYWORD: Final = {row.keyword: row for row in CIPHERS}
_CIPHER_BY_VALUE: Final = {(row.cipher, row.bits): row for row in CIPHERS}
_CIPHER_BY_WIRE: Final = {(row.transform, row.bits if row.sized else 0): row for row in CIPHERS}
_AUTH_BY_KEYWORD: Final = {row.keyword: row for row in AUTHS}
_AUTH_BY_VALUE: Final = {row.auth: row for row in (*AUTHS, NO_AUTH)}
_AUTH_BY_WIRE: Final = {row.number: row for row in AUTHS}


@dataclass(frozen=True, slots=True)
class EspProposal:
    """One way to protect ESP: a cipher, its key size, an authentication algorithm, and the group of an optional key exchange."""

    cipher: Cipher
    key_bits: int
    """Bits: 128, 192 or 256 for AES, 192 for 3DES, 64 for DES, 0 for NULL."""
    auth: Auth
    """``NONE`` with GCM, and only with it."""
    group: Group | None = None
    """Group for perfect forward secrecy."""

    def __post_init__(self) -> None:
        if (self.cipher, self.key_bits) not in _CIPHER_BY_VALUE:
            raise ConfigError(f"ESP: {self.cipher.name} has no key of {self.key_bits} bits")
        if (self.cipher is Cipher.AES_GCM16) != (self.auth is Auth.NONE):
            raise ConfigError(
                "ESP: AES-GCM authenticates by itself, take the hash away"
                if self.cipher is Cipher.AES_GCM16
                else "ESP: encryption without authentication is never allowed, add a hash, for example -sha256"
            )

    @classmethod
    def parse(cls, text: str) -> EspProposal:
        """Read swanctl's spelling: ``aes256-sha1``, ``aes128gcm16``, ``aes256-sha256-modp2048``. Raises ``ConfigError``."""
        cipher: CipherRow | None = None
        auth: AuthRow | None = None
        group: Group | None = None
        for given in text.strip().lower().split("-"):
            word = ALIASES.get(given, given)
            if word in _CIPHER_BY_KEYWORD and cipher is None:
                cipher = _CIPHER_BY_KEYWORD[word]
            elif word in _AUTH_BY_KEYWORD and auth is None:
                auth = _AUTH_BY_KEYWORD[word]
            elif word in GROUPS_BY_KEYWORD and group is None:
                group = GROUPS_BY_KEYWORD[word]
            elif word not in {"noesn", "esn"} or word == "esn":
                known = ", ".join((*_CIPHER_BY_KEYWORD, *_AUTH_BY_KEYWORD, *GROUPS_BY_KEYWORD))
                raise ConfigError(f"ESP proposal {text!r}: {given!r} is unknown here or given twice; known words: {known}")
        if cipher is None:
            raise ConfigError(f"ESP proposal {text!r} names no cipher, for example aes256-sha1")
        return cls(cipher.cipher, cipher.bits, (auth or NO_AUTH).auth, group)

    @classmethod
    def from_wire(cls, transform: int, key_bits: int, auth: int, group: Group | None = None) -> EspProposal | None:
        """The proposal of these wire numbers (0 stands for an absent attribute), ``None`` if this package cannot do it."""
        cipher = _CIPHER_BY_WIRE.get((transform, key_bits))
        chosen = NO_AUTH if auth == 0 else _AUTH_BY_WIRE.get(auth)
        if cipher is None or chosen is None or (cipher.cipher is Cipher.AES_GCM16) != (chosen is NO_AUTH):
            return None
        return cls(cipher.cipher, cipher.bits, chosen.auth, group)

    def __str__(self) -> str:
        words = (self._cipher.keyword, self._auth.keyword, self.group.keyword if self.group else "")
        return "-".join(word for word in words if word)

    @property
    def _cipher(self) -> CipherRow:
        return _CIPHER_BY_VALUE[self.cipher, self.key_bits]

    @property
    def _auth(self) -> AuthRow:
        return _AUTH_BY_VALUE[self.auth]

    @property
    def label(self) -> str:
        """For a person: ``AES-256, SHA-1``."""
        return self._cipher.label if self.auth is Auth.NONE else f"{self._cipher.label}, {self._auth.label}"

    @property
    def transform(self) -> int:
        """Transform identifier on the wire."""
        return self._cipher.transform

    @property
    def key_length(self) -> int | None:
        """Value of the key length attribute in bits, ``None`` where none is sent."""
        return self.key_bits if self._cipher.sized else None

    @property
    def auth_number(self) -> int | None:
        """Value of the authentication algorithm attribute, ``None`` where none is sent."""
        return self._auth.number or None

    @property
    def enc_octets(self) -> int:
        """Octets of encryption key, the salt of GCM included."""
        return self.key_bits // 8 + (GCM_SALT if self.cipher is Cipher.AES_GCM16 else 0)

    @property
    def auth_octets(self) -> int:
        """Octets of authentication key."""
        return self._auth.key

    def without_group(self) -> EspProposal:
        """The same without a key exchange."""
        return EspProposal(self.cipher, self.key_bits, self.auth)


def parse_list(text: str | Iterable[str]) -> tuple[EspProposal, ...]:
    """Read several proposals, separated by commas or given one by one. Raises ``ConfigError``."""
    words = text.split(",") if isinstance(text, str) else text
    return tuple(dict.fromkeys(EspProposal.parse(word) for word in words))


def cipher_label(transform: int, key_bits: int) -> str:
    """What a peer offered, for a person, also where this package cannot do it."""
    row = _CIPHER_BY_WIRE.get((transform, key_bits))
    if row is not None:
        return row.label
    name = _TRANSFORM_NAMES.get(transform, f"ESP transform {transform}")
    return f"{name} with {key_bits} bits" if key_bits else name


def auth_label(number: int) -> str:
    """Authentication algorithm of a peer's offer, for a person."""
    row = _AUTH_BY_WIRE.get(number)
    return row.label if row else "no authentication" if number == 0 else f"authentication {number}"


_TRANSFORM_NAMES: Final = {
    1: "DES-IV64", 2: "DES", 3: "3DES", 4: "RC4/RC5", 5: "IDEA", 6: "CAST", 7: "Blowfish", 8: "3IDEA", 9: "DES-IV32", 11: "NULL",
    12: "AES-CBC", 13: "AES-CTR", 14: "AES-CCM-8", 15: "AES-CCM-12", 16: "AES-CCM-16", 18: "AES-GCM-8", 19: "AES-GCM-12",
    20: "AES-GCM", 22: "Camellia", 23: "AES-GMAC",
}  # fmt: skip

_MODERN: Final = ("aes256gcm16", "aes128gcm16", "aes256-sha256", "aes128-sha256", "aes256-sha384", "aes256-sha512")
_COMPATIBLE: Final = (*_MODERN, "aes256-sha1", "aes192-sha256", "aes192-sha1", "aes128-sha1")
_LEGACY: Final = (*_COMPATIBLE, "3des-sha256", "3des-sha1", "3des-md5", "aes256-md5", "aes128-md5", "des-sha1", "des-md5")

TIERS: Final[Mapping[str, tuple[EspProposal, ...]]] = MappingProxyType(
    {
        # AES with SHA-2 or GCM.
        "modern": parse_list(_MODERN),
        # What Windows, Apple and Android take out of the box: SHA-1 as well.
        "compatible": parse_list(_COMPATIBLE),
        # Windows XP: 3DES, DES, MD5 as well. Never NULL.
        "legacy": parse_list(_LEGACY),
    }
)
"""The policy tiers, strongest first; each holds all of the one before."""
