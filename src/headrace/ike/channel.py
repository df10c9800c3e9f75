"""Protecting messages once there are keys: encryption with its chain of IVs, and the HASH that leads every phase-2 message."""

from __future__ import annotations

import hmac
from collections.abc import Sequence
from dataclasses import dataclass

from headrace.ike.constants import HEADER_OCTETS, Exchange, Flag, PayloadType
from headrace.ike.context import Received
from headrace.ike.keymat import Phase1Keys, Undecryptable
from headrace.ike.message import Chain, Header, TooManyPayloads, emit_chain, parse_chain
from headrace.ike.refusal import Drop
from headrace.wire import Malformed


@dataclass(frozen=True, slots=True)
class Opened:
    """A message that decrypts to payloads."""

    chain: Chain
    text: bytes
    next_iv: bytes
    """Last block of its ciphertext."""

    @property
    def covered(self) -> bytes:
        """Everything behind the first payload up to the end of the last: what a HASH in front covers."""
        return self.text[4 + len(self.chain.items[0].body) : self.chain.octets]


class Channel:
    """The keys of one phase 1 at work."""

    __slots__ = ("cookie_i", "cookie_r", "keys", "last_block")

    def __init__(self, keys: Phase1Keys, cookie_i: bytes, cookie_r: bytes) -> None:
        self.keys = keys
        self.cookie_i = cookie_i
        self.cookie_r = cookie_r
        self.last_block = keys.first_iv
        """Last ciphertext block of phase 1, its first IV before there was one."""

    @property
    def cookies(self) -> bytes:
        """CKY-I | CKY-R: the SPI of the ISAKMP SA."""
        return self.cookie_i + self.cookie_r

    def iv(self, message_id: int) -> bytes:
        """First IV of a phase-2 exchange."""
        return self.keys.message_iv(self.last_block, message_id)

    def seal(self, exchange: Exchange, message_id: int, iv: bytes, payloads: Sequence[tuple[int, bytes]]) -> bytes:
        """Encrypt payloads into a message; its last block is the next IV."""
        body = self.keys.encrypt(iv, emit_chain(payloads))
        length = HEADER_OCTETS + len(body)
        header = Header(self.cookie_i, self.cookie_r, payloads[0][0], exchange, Flag.ENCRYPTED, message_id, length)
        return header.emit() + body

    def seal_hashed(
        self, exchange: Exchange, message_id: int, iv: bytes, payloads: Sequence[tuple[int, bytes]], prefix: bytes = b""
    ) -> bytes:
        """As ``seal``, with HASH in front: prf(SKEYID_a, M-ID | prefix | payloads)."""
        value = self.keys.hash_a(message_id.to_bytes(4, "big"), prefix, emit_chain(payloads))
        return self.seal(exchange, message_id, iv, [(PayloadType.HASH, value), *payloads])

    def informational(self, message_id: int, payloads: Sequence[tuple[int, bytes]]) -> bytes:
        """An informational message (RFC 2409 section 5.7)."""
        return self.seal_hashed(Exchange.INFORMATIONAL, message_id, self.iv(message_id), payloads)

    def open(self, received: Received, iv: bytes) -> Opened:
        """Decrypt a message and walk its payloads. Raises ``Drop``; no state has changed then."""
        if not received.header.encrypted:
            raise Drop("ike_clear")
        try:
            text = self.keys.decrypt(iv, received.body)
            chain = parse_chain(received.header.next_payload, text, padded=True)
        except TooManyPayloads as error:
            raise Drop("ike_too_many_payloads", str(error)) from error
        except (Undecryptable, Malformed) as error:
            raise Drop("ike_decrypt", str(error)) from error
        return Opened(chain, text, received.body[-self.keys.proposal.block :])

    def open_hashed(self, received: Received, iv: bytes, prefix: bytes = b"") -> Opened:
        """As ``open``, and check HASH, which must come first. Raises ``Drop``."""
        opened = self.open(received, iv)
        expected = (
            self.keys.hash_a(received.header.message_id.to_bytes(4, "big"), prefix, opened.covered)
            if opened.chain.items
            else b""
        )
        self.check_hash(opened, expected)
        return opened

    @staticmethod
    def check_hash(opened: Opened, expected: bytes) -> None:
        """Compare the leading HASH in constant time. Raises ``Drop``."""
        first = opened.chain.items[0] if opened.chain.items else None
        if first is None or first.type != PayloadType.HASH or not hmac.compare_digest(first.body, expected):
            raise Drop("ike_hash")
