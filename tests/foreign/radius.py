"""As much RADIUS as it takes to put EAP into it (RFC 2865, RFC 3579, RFC 2548), for servers and clients that nobody here wrote."""

from __future__ import annotations

import hashlib
import hmac
import os
from dataclasses import dataclass, field

REQUEST, ACCEPT, REJECT, CHALLENGE = 1, 2, 3, 11
USER_NAME, STATE, VENDOR, NAS_IDENTIFIER, EAP_MESSAGE, AUTHENTICATOR = 1, 24, 26, 32, 79, 80
MICROSOFT, SEND_KEY, RECV_KEY = 311, 16, 17
SECRET = b"testing123"


@dataclass
class Message:
    """One RADIUS packet."""

    code: int
    identifier: int
    authenticator: bytes
    attributes: list[tuple[int, bytes]] = field(default_factory=list)

    @classmethod
    def parse(cls, data: bytes) -> Message:
        size = int.from_bytes(data[2:4], "big")
        found, place = [], 20
        while place < size:
            kind, length = data[place], data[place + 1]
            found.append((kind, data[place + 2 : place + length]))
            place += length
        return cls(data[0], data[1], data[4:20], found)

    def all(self, kind: int) -> list[bytes]:
        return [value for number, value in self.attributes if number == kind]

    @property
    def eap(self) -> bytes:
        return b"".join(self.all(EAP_MESSAGE))

    def add_eap(self, packet: bytes) -> Message:
        self.attributes += [(EAP_MESSAGE, packet[start : start + 253]) for start in range(0, len(packet), 253)]
        return self

    def _octets(self, authenticator: bytes, *, mac: bytes) -> bytes:
        body = b"".join(bytes((kind, 2 + len(value))) + value for kind, value in [*self.attributes, (AUTHENTICATOR, mac)])
        return bytes((self.code, self.identifier)) + (20 + len(body)).to_bytes(2, "big") + authenticator + body

    def emit(self, request: bytes | None = None) -> bytes:
        """The packet with its Message-Authenticator; ``request`` is the authenticator of the request that it answers."""
        asked = request or self.authenticator
        mac = hmac.digest(SECRET, self._octets(asked, mac=bytes(16)), "md5")
        octets = self._octets(asked, mac=mac)
        if request is None:
            return octets
        return octets[:4] + hashlib.md5(octets + SECRET).digest() + octets[20:]

    def key(self, number: int, request: bytes) -> bytes:
        """A key of Microsoft's, uncovered."""
        for value in self.all(VENDOR):
            if value[:5] == MICROSOFT.to_bytes(4, "big") + bytes((number,)):
                return _uncover(value[6:], request)
        return b""

    def add_key(self, number: int, key: bytes, request: bytes) -> None:
        salt = bytes((0x80 | os.urandom(1)[0], number))
        clear = bytes((len(key),)) + key
        clear += bytes(-len(clear) % 16)
        out, last = b"", request + salt
        for start in range(0, len(clear), 16):
            last = _xor(clear[start : start + 16], hashlib.md5(SECRET + last).digest())
            out += last
        value = salt + out
        self.attributes.append((VENDOR, MICROSOFT.to_bytes(4, "big") + bytes((number, 2 + len(value))) + value))


def _uncover(value: bytes, request: bytes) -> bytes:
    last, clear = request + value[:2], b""
    for start in range(2, len(value), 16):
        block = value[start : start + 16]
        clear += _xor(block, hashlib.md5(SECRET + last).digest())
        last = block
    return clear[1 : 1 + clear[0]]


def _xor(one: bytes, other: bytes) -> bytes:
    return bytes(a ^ b for a, b in zip(one, other, strict=True))
