"""Reads MPPE of a capture with the user's password: MS-CHAPv2 gives the start keys, CCP the strength, the header the place in the chain."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from cryptography.hazmat.decrepit.ciphers.algorithms import ARC4
from cryptography.hazmat.primitives.ciphers import Cipher

from headrace.ppp.ccp import STATELESS, strengths
from headrace.ppp.frame import Code, Frame, Packet, Proto
from headrace.ppp.mppe import next_key, session_key, start_keys
from headrace.ppp.mschap_crypto import CHALLENGE_SIZE, RESPONSE_SIZE, challenge_hash, nt_password_hash, nt_response
from headrace.ppp.option import Ccp, parse_options
from headrace.wire import Malformed

CALLS_MAX: Final = 1024
_FLUSHED: Final = 0x8000
_COMPRESSED: Final = 0x2000
_ENCRYPTED: Final = 0x1000
_COUNT: Final = 0x0FFF
_BEHIND_MAX: Final = 2048
"""Half of the counter's range: what is further ahead is a repeated packet."""


@dataclass(frozen=True, slots=True)
class Chain:
    """One direction of MPPE in the middle of its life."""

    start_key: bytes = field(repr=False)
    bits: int
    stateless: bool
    session_key: bytes = field(repr=False)
    """Where the chain of keys stood when ``count`` was the next."""
    count: int


@dataclass(slots=True)
class _Chain:
    """One direction."""

    start: bytes = field(repr=False)
    bits: int
    stateless: bool
    key: bytes = field(repr=False)
    count: int = 0
    stream: Any = field(default=None, repr=False)
    joined: bool = False
    """Came in the middle: a stateful stream is not known before it is begun anew."""

    def decrypt(self, header: int, data: bytes) -> bytes | None:
        """The inside of a packet, ``None`` for one that is repeated or follows a gap."""
        ahead = ((header & _COUNT) - self.count) & _COUNT
        if ahead > _BEHIND_MAX or not header & _ENCRYPTED or header & _COMPRESSED:
            return None
        if self.stateless:
            for _ in range(ahead + 1):
                self.key = next_key(self.start, self.key, self.bits)
            self.stream = None
        else:
            changed = False
            for step in range(ahead + 1):
                if (self.count + step) & 0xFF == 0xFF:
                    self.key = next_key(self.start, self.key, self.bits)
                    changed = True
            if changed or header & _FLUSHED:
                self.stream = None
            elif ahead or (self.joined and self.stream is None):
                return None  # what lies between is lost, and the stream with it until the next flush
        self.count = ((header & _COUNT) + 1) & _COUNT
        if self.stream is None:
            self.stream = Cipher(ARC4(self.key), mode=None).encryptor()
        return bytes(self.stream.update(data))


@dataclass(slots=True)
class _Call:
    challenge: bytes = b""
    server: bytes = b""
    """Who asked, as a packed end, or the beginning of one."""
    start: dict[bool, bytes] = field(default_factory=dict, repr=False)
    """By whether the server sends."""
    chains: dict[bool, _Chain] = field(default_factory=dict)

    def by_server(self, sender: bytes) -> bool:
        return sender.startswith(self.server)


class MppeReader:
    """Follows the calls of a capture. ``call`` names one, ``sender`` one of its two ends."""

    def __init__(self, password: str) -> None:
        self._hash = nt_password_hash(password) if password else b""
        self._calls: OrderedDict[bytes, _Call] = OrderedDict()
        self._watched: _Call | None = None
        self.problem = ""

    def watch(self, server: bytes, chains: Mapping[bool, Chain]) -> None:
        """Go on in the middle of a call, with where its chains of keys stand; ``server`` is the gateway's outer address, packed.

        ``chains`` has a direction by whether the server sends.
        """
        self._watched = _Call(
            server=server,
            chains={
                sends: _Chain(one.start_key, one.bits, one.stateless, one.session_key, one.count, joined=True)
                for sends, one in chains.items()
            },
        )

    def see(self, call: bytes, sender: bytes, frame: Frame) -> None:
        """Take a control frame."""
        if not self._hash or frame.protocol not in {Proto.CHAP, Proto.CCP}:
            return
        try:
            packet = Packet.parse(frame.information, "mppe")
            if frame.protocol == Proto.CHAP:
                self._chap(call, sender, packet)
            elif packet.code == Code.CONFIGURE_ACK:
                self._ack(call, sender, packet)
        except Malformed:
            return  # told where the frame is put into words

    def _chap(self, call: bytes, sender: bytes, packet: Packet) -> None:
        size = packet.data[0] if packet.data else 0
        value, name = packet.data[1 : 1 + size], packet.data[1 + size :]
        if packet.code == 1 and size == CHALLENGE_SIZE:
            self._calls.pop(call, None)
            while len(self._calls) >= CALLS_MAX:
                self._calls.popitem(last=False)
            self._calls[call] = _Call(value, sender)
        elif packet.code == 2 and size == RESPONSE_SIZE and (found := self._calls.get(call)):
            proof = value[24:48]
            if nt_response(self._hash, challenge_hash(value[:16], found.challenge, name)) != proof:
                self.problem = "the password that was given is not the one that proved the user in this capture"
                return
            send, receive = start_keys(self._hash, proof, server=True)
            found.start = {True: send, False: receive}

    def _ack(self, call: bytes, sender: bytes, packet: Packet) -> None:
        found = self._calls.get(call)
        option = next((o for o in parse_options(packet.data, "mppe") if o.type == Ccp.MPPE), None)
        if found is None or not found.start or option is None or not strengths(option.value):
            return
        # What one side acknowledges is what the other wants to receive: so it is what this side sends.
        server = found.by_server(sender)
        start, bits = found.start[server], strengths(option.value)[0]
        found.chains[server] = _Chain(start, bits, bool(option.value & STATELESS), session_key(start, bits))

    def decrypt(self, call: bytes, sender: bytes, information: bytes) -> Frame | None:
        """The frame inside a protocol 00fd packet; ``None`` if it cannot be read."""
        found = self._calls.get(call, self._watched)
        chain = found.chains.get(found.by_server(sender)) if found else None
        if chain is None or len(information) < 3:
            return None
        plain = chain.decrypt(int.from_bytes(information[:2], "big"), information[2:])
        try:
            return Frame.parse(plain) if plain else None
        except Malformed:
            return None
