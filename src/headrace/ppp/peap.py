"""PEAP version 0 with EAP-MSCHAPv2 inside (draft-kamath-pppext-peapv0, MS-PEAP), both roles.

Inside of the tunnel stands a second EAP conversation. Its packets have no header (code, identifier, length) but those that tell the
result, type 33::

    +---------------+---------------+-------------------------------+
    |M|R|        TLV type           |            Length             |   3: result, 1 success, 2 failure
    +---------------+---------------+-------------------------------+   12: crypto-binding
    |    Reserved   |    Version    |   Received    |   Sub-type    |
    +---------------+---------------+---------------+---------------+   sub-type: 0 request, 1 response
    |  Nonce (32)                                                       the MAC is over the whole TLV, itself zero,
    |  Compound MAC (20)                                                and the octet of PEAP's type
    +---------------

The binding proves that one and the same machine ended the tunnel and ran the inner method, and changes the keys of both.
"""

from __future__ import annotations

import hashlib
import hmac
from typing import Final

from headrace.errors import Slug
from headrace.model import Failure
from headrace.ppp.auth import Keys
from headrace.ppp.chap import same
from headrace.ppp.config import AuthAccept, AuthMethod, AuthReject
from headrace.ppp.eap import (
    FAILURE,
    HEADER,
    IDENTITY,
    IDENTITY_LIMIT,
    PEAP,
    REQUEST,
    RESPONSE,
    SUCCESS,
    TLV,
    EapPacket,
)
from headrace.ppp.eap_mschap import MsChapPeer, MsChapServer
from headrace.ppp.eap_peer import EapPeer
from headrace.ppp.eap_server import EapServer, ServerContext
from headrace.ppp.eap_tls import TlsPeerMethod, TlsServerMethod, key_material, start_keys, with_keys
from headrace.ppp.tls import TLS13
from headrace.wire import Malformed, Reader, Writer

RESULT: Final = 3
CRYPTO_BINDING: Final = 12
_MANDATORY: Final = 0x8000
_TYPE: Final = 0x3FFF
_GOOD: Final = 1
_BAD: Final = 2

_BINDING_SIZE: Final = 56
_MAC: Final = 20
_NONCE: Final = 32
_OVERHEAD: Final = 64
"""Octets of TLS around an inner packet, at most, and of the header that inner packets do without."""

_INNER: Final = AuthMethod.EAP_MSCHAP_V2


# --- keys (MS-PEAP section 3.1.5.5) -------------------------------------------------------------------------------------------


def prf_plus(key: bytes, seed: bytes, length: int) -> bytes:
    """PRF+ of version 0: HMAC-SHA1 in a chain, each block with its number and two zeros."""
    block, out = b"", b""
    number = 1
    while len(out) < length:
        block = hmac.digest(key, block + seed + bytes((number, 0, 0)), "sha1")
        out += block
        number += 1
    return out[:length]


def compound_keys(tunnel: bytes, inner: bytes) -> tuple[bytes, bytes]:
    """The keys that both conversations have part in: 40 octets for the session, 20 for the MAC.

    ``tunnel`` is TLS's key material, ``inner`` the inner method's keys (32 octets: the peer's to send, its to receive).
    """
    keys = prf_plus(tunnel[:40], b"Inner Methods Compound Keys" + inner, 60)
    return keys[:40], keys[40:]


def bound_msk(session: bytes) -> bytes:
    """The MSK of a conversation that was bound: 64 octets."""
    return prf_plus(session, b"Session Key Generating Function\0", 128)[:64]


def binding(mac_key: bytes, nonce: bytes, *, response: bool) -> bytes:
    """A crypto-binding TLV."""
    head = Writer().u16(CRYPTO_BINDING).u16(_BINDING_SIZE).raw(bytes((0, 0, 0, response))).raw(nonce).bytes()
    return head + hmac.digest(mac_key, head + bytes(_MAC) + bytes((PEAP,)), hashlib.sha1)


def binding_holds(mac_key: bytes, value: bytes, *, response: bool) -> bool:
    """Whether the value of a crypto-binding TLV is right."""
    if len(value) != _BINDING_SIZE or value[1] != 0 or value[3] != response:
        return False
    whole = Writer().u16(CRYPTO_BINDING).u16(_BINDING_SIZE).raw(value[:-_MAC]).raw(bytes(_MAC)).u8(PEAP).bytes()
    return same(hmac.digest(mac_key, whole, hashlib.sha1), value[-_MAC:])


# --- inner packets ------------------------------------------------------------------------------------------------------------


def parse_inner(octets: bytes, code: int, identifier: int) -> EapPacket:
    """An inner packet, with a header or without. ``code`` and ``identifier`` stand for one that is not there. Raises ``Malformed``."""
    whole = len(octets) >= 4 and octets[0] in {code, SUCCESS, FAILURE} and int.from_bytes(octets[2:4], "big") == len(octets)
    if whole:
        return EapPacket.parse(octets)
    reader = Reader(octets, "peap")
    return EapPacket(code, identifier, reader.u8("type"), reader.rest())


def result_packet(code: int, identifier: int, *, good: bool, more: bytes = b"") -> bytes:
    """A packet that tells the result."""
    tlv = Writer().u16(_MANDATORY | RESULT).u16(2).u16(_GOOD if good else _BAD).bytes()
    return EapPacket(code, identifier, TLV, tlv + more).emit()


def parse_result(data: bytes) -> tuple[bool, bytes | None]:
    """Whether the result is success, and the value of a crypto-binding. Raises ``Malformed``, also for what is unknown and mandatory."""
    reader = Reader(data, "peap", HEADER)
    good: bool | None = None
    bound = None
    while len(reader):
        number, size = reader.u16("tlv"), reader.u16("tlv")
        value = reader.take(size, "tlv")
        if number & _TYPE == RESULT and good is None and value in {b"\0\1", b"\0\2"}:
            good = value == b"\0\1"
        elif number & _TYPE == CRYPTO_BINDING and bound is None:
            bound = value
        elif number & _MANDATORY:
            raise reader.fail("tlv", f"TLV {number & _TYPE} of {size} octets cannot stand here")
    if good is None:
        raise reader.fail("tlv", "no result")
    return good, bound


# --- the server ---------------------------------------------------------------------------------------------------------------


class PeapServer(TlsServerMethod):
    """Opens the tunnel, then runs the inner conversation, of which it is the carrier."""

    method = AuthMethod.PEAP
    demands_certificate = False

    def __init__(self, server: EapServer, context: ServerContext) -> None:
        super().__init__(server, context)
        self._context = context
        self._asked_identity = False
        self._inner: EapServer | None = None
        self._grant: AuthAccept | None = None
        self._failure: Failure | None = None
        self._session_key = b""
        self._mac_key = b""

    def advance(self, message: bytes) -> None:
        """The handshake, then what the peer says inside."""
        if not self.engine.complete:
            if not self.flight():
                self.stuck()
            return
        said = self.engine.read()
        if said:
            self._receive_inner(said)
        elif self._asked_identity:
            self.stuck()
        elif self.engine.version == TLS13 or not self.flight():
            self._asked_identity = True  # the peer has heard our Finished, or needs none of it first
            self._tell(bytes((IDENTITY,)))

    def _tell(self, octets: bytes) -> None:
        self.engine.write(octets)
        self.flight()

    def _receive_inner(self, octets: bytes) -> None:
        packet = parse_inner(octets, RESPONSE, self._inner.identifier if self._inner else 0)
        if packet.code != RESPONSE:
            raise Malformed("peap", "code", 0, f"code {packet.code} from the peer")
        if self._grant is not None or self._failure is not None:
            self._receive_result(packet)
        elif self._inner is not None:
            out = self.server.identifier
            self._inner.receive(packet)
            if self.server.identifier == out and not self._inner.waiting and self._grant is None and self._failure is None:
                raise Malformed("peap", "type", 4, "an inner response that answers nothing")
        elif packet.type == IDENTITY and len(packet.data) <= IDENTITY_LIMIT:
            context = ServerContext(self.config, self.rand, packet.data)
            self._inner = EapServer(self, context, (_INNER,), {_INNER: MsChapServer}, self.rand(1)[0])
            self._inner.start()
        else:
            raise Malformed("peap", "type", 4, f"type {packet.type} of {len(packet.data)} octets in place of an identity")

    def _receive_result(self, packet: EapPacket) -> None:
        """The peer's word on the result, and its half of the binding."""
        if packet.type != TLV:
            raise Malformed("peap", "type", 4, f"type {packet.type} in place of the result")
        good, bound = parse_result(packet.data)
        if self._failure is not None:
            self.server.reject(self._failure)
            return
        assert self._grant is not None
        if bound is not None and not binding_holds(self._mac_key, bound, response=True):
            self.server.reject(Failure(Slug.PEAP_BINDING, "the client's half of the crypto-binding is wrong"))
        elif not good:
            self.server.reject(Failure(Slug.PEAP_RESULT, "the client says that the inner method failed, we that it did not"))
        elif bound is None and self.config.eap.require_binding:
            self.server.reject(Failure(Slug.PEAP_BINDING_MISSING, "the client's half of the crypto-binding is missing"))
        else:
            msk = bound_msk(self._session_key) if bound is not None else key_material(self.engine, PEAP)[:64]
            self.server.accept(with_keys(self._grant, msk))

    def result(self, verdict: AuthAccept | AuthReject) -> None:
        """The verdict is on the inner method's proof."""
        if self._inner is not None:
            self._inner.result(verdict)

    # --- the carrier of the inner conversation ----------------------------------------------------------------------------

    def room(self) -> int:
        """Octets of an inner packet (``ServerPort``)."""
        return self.server.port.room() - _OVERHEAD

    def request(self, packet: EapPacket) -> None:
        """Send an inner request, without its header (``ServerPort``)."""
        self._tell(bytes((packet.type,)) + packet.data)

    def ask(
        self, method: AuthMethod, username: bytes, identifier: int, challenge: bytes, response: bytes, change: bytes = b""
    ) -> None:
        """Pass the inner proof on, as one of PEAP (``ServerPort``)."""
        self.server.ask(username, challenge, response, change)

    def accept(self, grant: AuthAccept) -> None:
        """Tell the peer the result, with our half of the binding (``ServerPort``)."""
        self._grant = grant
        inner = (grant.mppe_recv_key or b"").ljust(16, b"\0") + (grant.mppe_send_key or b"").ljust(16, b"\0")
        self._session_key, self._mac_key = compound_keys(key_material(self.engine, PEAP), inner)
        self._tell_result(good=True, more=binding(self._mac_key, self.rand(_NONCE), response=False))

    def reject(self, failure: Failure) -> None:
        """Tell the peer the result (``ServerPort``)."""
        self._failure = failure
        self.server.port.wait(failure, 0.0)
        self._tell_result(good=False)

    def _tell_result(self, *, good: bool, more: bytes = b"") -> None:
        self._tell(result_packet(REQUEST, (self.server.identifier + 1) & 0xFF, good=good, more=more))

    def drop(self, reason: str) -> None:
        """Count an input that was ignored (``ServerPort``)."""
        self.server.port.drop(reason)

    def wait(self, doom: Failure, patience: float) -> None:
        """Pass it on (``ServerPort``)."""
        self.server.port.wait(doom, patience)


# --- the peer -----------------------------------------------------------------------------------------------------------------


class PeapPeer(TlsPeerMethod):
    """Joins the tunnel, judges the server's certificate, then answers inside."""

    method = AuthMethod.PEAP
    shows_certificate = False

    def __init__(self, peer: EapPeer) -> None:
        super().__init__(peer)
        self._inner = EapPeer(
            self, self.config, self.credentials, self.rand, (_INNER,), {_INNER: MsChapPeer}, self.credentials.username
        )
        self._answer = b""

    def advance(self, identifier: int) -> bytes:
        """The handshake, then what the server says inside."""
        said = self.engine.read()
        if self.engine.complete and said:
            self._answer = b""
            packet = parse_inner(said, REQUEST, identifier)
            if packet.code == REQUEST and packet.type == TLV:
                self._receive_result(packet)
            elif packet.code == REQUEST:
                self._inner.receive(packet)
            else:
                self.peer.port.drop("peap_code")  # an inner Success says nothing: the result does
            if self._answer:
                self.engine.write(self._answer)
        return self.flight()

    def _receive_result(self, packet: EapPacket) -> None:
        good, bound = parse_result(packet.data)
        failure = self._judge(good, bound)
        if failure is not None:
            self.peer.doom(failure)
            self._answer = result_packet(RESPONSE, packet.identifier, good=False)
            return
        material = key_material(self.engine, PEAP)
        more, msk = b"", material[:64]
        if bound is not None:
            session, mac_key = compound_keys(material, self._inner.exported)
            more, msk = binding(mac_key, self.rand(_NONCE), response=True), bound_msk(session)
        self._answer = result_packet(RESPONSE, packet.identifier, good=True, more=more)
        self.keys = Keys(*start_keys(msk, server=False))
        self.complete = True

    def _judge(self, good: bool, bound: bytes | None) -> Failure | None:
        """What is wrong with the server's result, if anything is."""
        if not good:
            return self._inner_failure or Failure(Slug.AUTH_FAILED, "the server refuses inside of the tunnel")
        if not self._inner.complete:
            return Failure(Slug.PEAP_RESULT, "the server says success before the inner method has ended")
        if bound is None:
            missing = Failure(Slug.PEAP_BINDING_MISSING, "the server's half of the crypto-binding is missing")
            return missing if self.config.eap.require_binding else None
        _, mac_key = compound_keys(key_material(self.engine, PEAP), self._inner.exported)
        if not binding_holds(mac_key, bound, response=False):
            return Failure(Slug.PEAP_BINDING, "the server's half of the crypto-binding is wrong")
        return None

    # --- the carrier of the inner conversation ----------------------------------------------------------------------------

    _inner_failure: Failure | None = None

    def room(self) -> int:
        """Octets of an inner packet (``PeerPort``)."""
        return self.peer.port.room() - _OVERHEAD

    def respond(self, packet: EapPacket) -> None:
        """Answer inside, without a header (``PeerPort``)."""
        self._answer = bytes((packet.type,)) + packet.data

    def succeeded(self, keys: Keys | None) -> None:
        """Never said inside: the result is (``PeerPort``)."""

    def failed(self, failure: Failure) -> None:
        """The inner conversation is over, and with it this one (``PeerPort``)."""
        self.peer.fail(failure)

    def drop(self, reason: str) -> None:
        """Count an input that was ignored (``PeerPort``)."""
        self.peer.port.drop(reason)

    def doomed(self, failure: Failure, patience: float) -> None:
        """Pass it on (``PeerPort``)."""
        self._inner_failure = failure
        self.peer.doom(failure, patience)
