"""Diffie-Hellman (RFC 2409 section 6, RFC 3526, RFC 5903): the one module that computes with groups.

MODP values are as long as the prime, zeros in front. An ECP value is x then y; the shared secret is x alone (RFC 5903 section 7, 9).

``cryptography`` 50 deprecates finite-field Diffie-Hellman and may move or drop it; IKEv1 cannot do without. So its names are
imported here and nowhere else, down a ladder of places; only that one warning is silenced, and only while importing.
"""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from functools import cache
from typing import Final

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.utils import CryptographyDeprecationWarning

from headrace.errors import PeerError
from headrace.esp.group import Group
from headrace.model import Rand

with warnings.catch_warnings():
    warnings.filterwarnings("ignore", "Diffie-Hellman over finite fields", CryptographyDeprecationWarning)
    try:
        from cryptography.hazmat.primitives.asymmetric.dh import DHParameterNumbers, DHPrivateNumbers, DHPublicNumbers
    except ImportError:  # pragma: no cover - where releases behind 52 are expected to keep it
        from cryptography.hazmat.decrepit.asymmetric.dh import (  # type: ignore[import-not-found,no-redef]
            DHParameterNumbers,
            DHPrivateNumbers,
            DHPublicNumbers,
        )

_GENERATOR: Final = 2
_MODP_BITS: Final = {
    Group.MODP1024: (1024, 129093, 256),
    Group.MODP1536: (1536, 741804, 256),
    Group.MODP2048: (2048, 124476, 256),
    Group.MODP3072: (3072, 1690314, 320),
    Group.MODP4096: (4096, 240904, 384),
}
"""Bits of the prime, the constant in its formula, bits of a private exponent: twice the strength and a little more."""
_CURVES: Final[dict[Group, tuple[type[ec.EllipticCurve], int]]] = {
    Group.ECP256: (ec.SECP256R1, 32),
    Group.ECP384: (ec.SECP384R1, 48),
    Group.ECP521: (ec.SECP521R1, 66),
}
"""Curve, octets of a coordinate."""


class BadLength(PeerError):
    """A public value that is not as long as its group."""


class BadPublicValue(PeerError):
    """A public value that is no usable member of its group."""


def _pi(bits: int) -> int:
    """The floor of pi times 2**bits, by Machin: pi/4 = 4 arctan(1/5) - arctan(1/239)."""
    guard = 32
    one = 1 << (bits + guard)

    def arctan_of_inverse(x: int) -> int:
        term = total = one // x
        n, sign = 3, -1
        while term:
            term //= x * x
            total += sign * (term // n)
            n, sign = n + 2, -sign
        return total

    return 4 * (4 * arctan_of_inverse(5) - arctan_of_inverse(239)) >> guard


@cache
def prime(group: Group) -> int:
    """The prime of a MODP group: 2^n - 2^(n-64) - 1 + 2^64 (floor(2^(n-130) pi) + c) (RFC 2412 appendix E, RFC 3526)."""
    bits, c, _ = _MODP_BITS[group]
    return (1 << bits) - (1 << (bits - 64)) - 1 + ((_pi(bits - 130) + c) << 64)


def public_octets(group: Group) -> int:
    """Octets of a public value."""
    return _MODP_BITS[group][0] // 8 if group in _MODP_BITS else 2 * _CURVES[group][1]


class Exchange(ABC):
    """One ephemeral key pair."""

    group: Group
    public: bytes
    """What goes into the KE payload."""

    @abstractmethod
    def shared(self, theirs: bytes) -> bytes:
        """The shared secret with a value that ``check`` has passed. Raises ``BadPublicValue``."""


class _Modp(Exchange):
    def __init__(self, group: Group, rand: Rand) -> None:
        self.group = group
        self._octets = public_octets(group)
        self._x = int.from_bytes(rand(_MODP_BITS[group][2] // 8), "big") | 1 << (_MODP_BITS[group][2] - 1)
        self.public = self._power(_GENERATOR)

    def shared(self, theirs: bytes) -> bytes:
        return self._power(int.from_bytes(theirs, "big"))

    def _power(self, base: int) -> bytes:
        p = prime(self.group)
        if self.group is Group.MODP1024:
            # OpenSSL has no name for this group and would prove its prime anew for every key: 45 ms a time, 130 ms an exchange,
            # a lever for whoever floods us. Python's own power takes 1 ms. The exponent serves once, for one peer.
            return pow(base, self._x, p).to_bytes(self._octets, "big")
        # The public part of our own numbers is not used by a derivation, so that g can stand there and g^x be derived from g.
        numbers = DHParameterNumbers(p, _GENERATOR)
        own = DHPrivateNumbers(self._x, DHPublicNumbers(_GENERATOR, numbers)).private_key()
        try:
            secret = own.exchange(DHPublicNumbers(base, numbers).public_key())
        except ValueError as error:  # a value outside of the subgroup of the generator
            raise BadPublicValue(f"{self.group.name}: the peer's public value is outside of the group") from error
        return secret.rjust(self._octets, b"\0")


class _Ecp(Exchange):
    def __init__(self, group: Group, rand: Rand) -> None:
        curve, octets = _CURVES[group]
        self.group = group
        # Eight octets more than the order, so that the remainder is as good as uniform.
        self._key = ec.derive_private_key(1 + int.from_bytes(rand(octets + 8), "big") % (curve().group_order - 1), curve())
        numbers = self._key.public_key().public_numbers()
        self.public = numbers.x.to_bytes(octets, "big") + numbers.y.to_bytes(octets, "big")

    def shared(self, theirs: bytes) -> bytes:
        return self._key.exchange(ec.ECDH(), _point(self.group, theirs))


def begin(group: Group, rand: Rand) -> Exchange:
    """A new key pair in a group."""
    return _Modp(group, rand) if group in _MODP_BITS else _Ecp(group, rand)


def check(group: Group, theirs: bytes) -> None:
    """Judge a peer's public value before anything is derived from it. Raises ``BadLength`` or ``BadPublicValue``.

    A MODP value of 0, 1, p - 1 or more would force the secret; a point off the curve would leak ours.
    """
    if group in _MODP_BITS:
        if len(theirs) != public_octets(group):
            raise BadLength(f"{group.name} has {public_octets(group)} octets, the peer sent {len(theirs)}")
        if not 1 < int.from_bytes(theirs, "big") < prime(group) - 1:
            raise BadPublicValue(f"{group.name}: the peer's public value is 0, 1, p - 1 or out of range")
    else:
        _point(group, theirs)


def _point(group: Group, theirs: bytes) -> ec.EllipticCurvePublicKey:
    curve, octets = _CURVES[group]
    if len(theirs) != 2 * octets:
        raise BadPublicValue(f"{group.name} has points of {2 * octets} octets, the peer sent {len(theirs)}")
    x, y = (int.from_bytes(half, "big") for half in (theirs[:octets], theirs[octets:]))
    try:
        return ec.EllipticCurvePublicNumbers(x, y, curve()).public_key()
    except ValueError as error:
        raise BadPublicValue(f"{group.name}: the peer's point is not on the curve") from error
