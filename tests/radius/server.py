"""A RADIUS server of the tests' own, without any network: answers that are right, and all that can be wrong with them."""

from __future__ import annotations

from headrace.radius.names import Attr, Code
from headrace.radius.packet import (
    Attribute,
    Packet,
    message_authenticator,
    response_authenticator,
    sign_computed,
)

SECRET = b"testing123"


class Octets:
    """A random source that counts: never twice the same."""

    def __init__(self) -> None:
        self.drawn = 0

    def __call__(self, size: int) -> bytes:
        self.drawn += 1
        return self.drawn.to_bytes(4, "big").rjust(size, b"\xa5")[-size:]


def answer(request: bytes, code: int = Code.ACCESS_ACCEPT, *attributes: Attribute, secret: bytes = SECRET) -> bytes:
    """A right answer."""
    return sign_computed(Packet(code, request[1], bytes(16), attributes), secret, request[4:20])


def resign(request: bytes, data: bytes, secret: bytes = SECRET) -> bytes:
    """Octets that were made up by hand, with a right authenticator."""
    return data[:4] + response_authenticator(data, request[4:20], secret) + data[20:]


def bare(request: bytes, code: int, body: bytes, length: int | None = None) -> bytes:
    """An answer out of octets, with a right authenticator and nothing else."""
    size = 20 + len(body) if length is None else length
    return resign(request, bytes((code, request[1])) + size.to_bytes(2, "big") + bytes(16) + body)


def with_message_authenticator(request: bytes, code: int, body: bytes) -> bytes:
    """The same with a right Message-Authenticator in front, whatever the body is."""
    size = 20 + 18 + len(body)
    head = bytes((code, request[1])) + size.to_bytes(2, "big") + request[4:20]
    data = head + bytes((Attr.MESSAGE_AUTHENTICATOR, 18)) + bytes(16) + body
    proof = message_authenticator(data, request[4:20], SECRET)[1]
    return resign(request, data[:22] + proof + data[38:])
