"""What may be negotiated in phase 1: one transform a proposal, in swanctl's spelling, and the policy tiers (RFC 2409 appendix A)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import IntEnum
from types import MappingProxyType
from typing import Final

from headrace.errors import ConfigError
from headrace.esp.group import GROUPS_BY_KEYWORD, Group


class IkeCipher(IntEnum):
    """Phase-1 encryption; the numbers are those of attribute class 1."""

    DES = 1
    TRIPLE_DES = 5
    AES = 7


class IkeHash(IntEnum):
    """Phase-1 hash, and by HMAC the PRF; the numbers are those of attribute class 2."""

    MD5 = 1
    SHA1 = 2
    SHA256 = 4
    SHA384 = 5
    SHA512 = 6

    @property
    def keyword(self) -> str:
        """The name in a proposal string, and in ``hashlib``."""
        return self.name.lower()

    @property
    def octets(self) -> int:
        """Octets of its output."""
        return _HASH_OCTETS[self]


_HASH_OCTETS: Final = {IkeHash.MD5: 16, IkeHash.SHA1: 20, IkeHash.SHA256: 32, IkeHash.SHA384: 48, IkeHash.SHA512: 64}


@dataclass(frozen=True, slots=True)
class CipherRow:
    """One phase-1 cipher with one key size."""

    keyword: str
    cipher: IkeCipher
    bits: int
    """Value of the key length attribute; 0 where none is sent."""
    key: int
    """Octets of key."""
    block: int
    """Octets of a block, and of the IV."""
    label: str


CIPHERS: Final = (
    CipherRow("aes128", IkeCipher.AES, 128, 16, 16, "AES-128"),
    CipherRow("aes192", IkeCipher.AES, 192, 24, 16, "AES-192"),
    CipherRow("aes256", IkeCipher.AES, 256, 32, 16, "AES-256"),
    CipherRow("3des", IkeCipher.TRIPLE_DES, 0, 24, 8, "3DES"),
    CipherRow("des", IkeCipher.DES, 0, 8, 8, "DES"),
)
_CIPHER_BY_KEYWORD: Final = {row.keyword: row for row in CIPHERS}
_CIPHER_BY_VALUE: Final = {(row.cipher, row.bits): row for row in CIPHERS}
_HASH_BY_KEYWORD: Final = {item.keyword: item for item in IkeHash}
_ALIASES: Final = {"aes": "aes128", "sha": "sha1", "sha2_256": "sha256", "sha2_384": "sha384", "sha2_512": "sha512"}


@dataclass(frozen=True, slots=True)
class IkeProposal:
    """One way to protect phase 1. The authentication method is no part of it: credentials decide that."""

    cipher: IkeCipher
    key_bits: int
    """Bits: 128, 192 or 256 for AES; 0 for DES and 3DES, which have one size."""
    hash: IkeHash
    group: Group

    def __post_init__(self) -> None:
        if (self.cipher, self.key_bits) not in _CIPHER_BY_VALUE:
            raise ConfigError(f"IKE: {self.cipher.name} has no key of {self.key_bits} bits")

    @classmethod
    def parse(cls, text: str) -> IkeProposal:
        """Read swanctl's spelling: ``aes256-sha1-modp2048``, ``3des-sha1-modp1024``, ``aes128-sha256-ecp256``. Raises ``ConfigError``."""
        cipher: CipherRow | None = None
        digest: IkeHash | None = None
        group: Group | None = None
        prf = ""
        for given in text.strip().lower().split("-"):
            word = _ALIASES.get(given, given)
            if word in _CIPHER_BY_KEYWORD and cipher is None:
                cipher = _CIPHER_BY_KEYWORD[word]
            elif word in _HASH_BY_KEYWORD and digest is None:
                digest = _HASH_BY_KEYWORD[word]
            elif word in GROUPS_BY_KEYWORD and group is None:
                group = GROUPS_BY_KEYWORD[word]
            elif word.startswith("prf") and word[3:] in _HASH_BY_KEYWORD and not prf:
                prf = word[3:]
            else:
                known = ", ".join((*_CIPHER_BY_KEYWORD, *_HASH_BY_KEYWORD, *GROUPS_BY_KEYWORD))
                raise ConfigError(f"IKE proposal {text!r}: {given!r} is unknown here or given twice; known words: {known}")
        if cipher is None or digest is None or group is None:
            raise ConfigError(f"IKE proposal {text!r} needs a cipher, a hash and a group, for example aes256-sha1-modp2048")
        if prf and prf != digest.keyword:
            raise ConfigError(f"IKE proposal {text!r}: in IKEv1 the PRF is always that of the hash, take 'prf{prf}' away")
        return cls(cipher.cipher, cipher.bits, digest, group)

    def __str__(self) -> str:
        return f"{self._row.keyword}-{self.hash.keyword}-{self.group.keyword}"

    @property
    def _row(self) -> CipherRow:
        return _CIPHER_BY_VALUE[self.cipher, self.key_bits]

    @property
    def label(self) -> str:
        """For a person: ``AES-256, SHA-1, MODP-2048``."""
        return ", ".join((self._row.label, hash_label(self.hash), group_label(self.group)))

    @property
    def key_octets(self) -> int:
        """Octets of the cipher's key."""
        return self._row.key

    @property
    def block(self) -> int:
        """Octets of the cipher's block."""
        return self._row.block


def parse_list(text: str | Iterable[str]) -> tuple[IkeProposal, ...]:
    """Read several proposals, separated by commas or given one by one. Raises ``ConfigError``."""
    words = text.split(",") if isinstance(text, str) else text
    return tuple(dict.fromkeys(IkeProposal.parse(word) for word in words))


def cipher_label(number: int, bits: int) -> str:
    """A cipher that a peer offered, for a person, also where this package cannot do it."""
    for row in CIPHERS:
        if (row.cipher, row.bits) == (number, bits):
            return row.label
    name = _CIPHER_NAMES.get(number, f"cipher {number}")
    return f"{name} with {bits} bits" if bits else f"{name} without a key length" if number == IkeCipher.AES else name


def hash_label(number: int) -> str:
    """A hash that a peer offered, for a person."""
    return _HASH_NAMES.get(number, f"hash {number}")


def group_label(number: int) -> str:
    """A group that a peer offered, for a person."""
    return _GROUP_NAMES.get(number, f"group {number}")


_CIPHER_NAMES: Final = {1: "DES", 2: "IDEA", 3: "Blowfish", 4: "RC5", 5: "3DES", 6: "CAST", 7: "AES", 8: "Camellia"}
_HASH_NAMES: Final = {1: "MD5", 2: "SHA-1", 3: "Tiger", 4: "SHA-256", 5: "SHA-384", 6: "SHA-512"}
_GROUP_NAMES: Final = {
    1: "MODP-768", 2: "MODP-1024", 3: "EC2N-155", 4: "EC2N-185", 5: "MODP-1536", 14: "MODP-2048", 15: "MODP-3072", 16: "MODP-4096",
    17: "MODP-6144", 18: "MODP-8192", 19: "ECP-256", 20: "ECP-384", 21: "ECP-521", 25: "ECP-192", 26: "ECP-224", 31: "Curve25519",
}  # fmt: skip


def _all(ciphers: str, hashes: str, groups: str) -> tuple[IkeProposal, ...]:
    return parse_list(f"{c}-{h}-{g}" for g in groups.split() for c in ciphers.split() for h in hashes.split())


# The order matters to an initiator, whose first message has room for some two dozen transforms: what most peers take comes first.
_MODERN: Final = (
    *_all("aes256 aes128", "sha384 sha256", "ecp384 ecp256 modp2048"),
    *_all("aes256 aes128", "sha384 sha256 sha512", "ecp521 modp3072 modp4096"),
    *_all("aes256 aes128", "sha512", "ecp384 ecp256 modp2048"),
)
_COMPATIBLE: Final = (
    *_all("aes256 aes128", "sha256 sha1", "ecp384 ecp256 modp2048"),
    *_MODERN,
    *_all("aes256 aes128", "sha1", "ecp521 modp3072 modp4096"),
    *_all("aes192", "sha256 sha1", "ecp384 ecp256 modp2048"),
)
_LEGACY: Final = (
    *_all("aes256 aes128", "sha256 sha1", "ecp384 ecp256 modp2048"),
    *_all("3des", "sha1", "modp2048"),
    *_all("aes256 aes128 3des", "sha1", "modp1536 modp1024"),
    *_all("3des", "md5", "modp1024"),
    *_COMPATIBLE,
    *_all("aes256 aes128", "sha256 sha384 sha512 md5", "modp1536 modp1024"),
    *_all("aes256 aes128", "md5", "modp2048"),
    *_all("3des", "sha256 sha1 md5", "modp2048 modp1536 modp1024"),
    *_all("des", "sha1 md5", "modp1024"),
)

TIERS: Final[Mapping[str, tuple[IkeProposal, ...]]] = MappingProxyType(
    {
        # AES, SHA-2, ECP or MODP-2048 and up.
        "modern": tuple(dict.fromkeys(_MODERN)),
        # What Windows 7 and later, Apple and Linux clients offer out of the box: SHA-1 as well.
        "compatible": tuple(dict.fromkeys(_COMPATIBLE)),
        # Windows XP and Android's own client: MODP-1024, 3DES, DES, MD5 as well.
        "legacy": tuple(dict.fromkeys(_LEGACY)),
    }
)
"""The policy tiers; each holds all of the one before."""
