"""The Challenge Handshake Authentication Protocol (RFC 1994), the exchange that CHAP with MD5 and MS-CHAP share.

::

    Challenge, Response   code 1, 2 | id | length | value size | value | name
    Success, Failure      code 3, 4 | id | length | message
"""

from __future__ import annotations

import hashlib
import hmac
from abc import abstractmethod
from dataclasses import dataclass, field
from typing import ClassVar, Final

from headrace.errors import Slug
from headrace.model import Failure, printable
from headrace.ppp.auth import AuthClient, AuthServer, Keys
from headrace.ppp.config import AuthAccept, AuthMethod, AuthReject, AuthResult
from headrace.ppp.frame import Packet, Proto
from headrace.wire import Reader, Writer

CHALLENGE: Final = 1
RESPONSE: Final = 2
SUCCESS: Final = 3
FAILURE: Final = 4

NAME_LIMIT: Final = 256
"""The longest name that is looked at, octets (RFC 2759 section 4)."""


def md5_response(identifier: int, secret: bytes, challenge: bytes) -> bytes:
    """The 16 octets that prove a secret (RFC 1994 section 4.1). ``identifier`` is 0 to 255."""
    return hashlib.md5(bytes((identifier,)) + secret + challenge).digest()


@dataclass(frozen=True, slots=True)
class Value:
    """What a Challenge or a Response carries."""

    value: bytes = field(repr=False)
    name: bytes = b""

    @classmethod
    def parse(cls, data: bytes) -> Value:
        """Read it. Raises ``Malformed`` (field ``size``) if the value is not all there."""
        reader = Reader(data, "chap", 4)
        return cls(reader.take(reader.u8("size"), "size"), reader.rest())

    def emit(self) -> bytes:
        """The data of the packet."""
        return Writer().u8(len(self.value)).raw(self.value).raw(self.name).bytes()


class ChapServer(AuthServer):
    """Sends challenges, has responses checked, says the verdict, and says it again to whoever did not hear it."""

    protocol = Proto.CHAP
    challenge_size: ClassVar[int] = 16
    response_size: ClassVar[int] = 16

    _identifier = 0
    _challenge = b""
    _asked: Value | None = None
    _verdict: Packet | None = None

    def start(self, now: float) -> None:
        """Send the first challenge."""
        self._identifier = self.rand(1)[0]
        self._new_challenge(now)

    def _new_challenge(self, now: float) -> None:
        self._challenge = self.rand(self.challenge_size)
        self.resend()
        self.await_answer(now)

    def resend(self) -> None:
        """Send the current challenge again."""
        value = Value(self._challenge, self.config.name.encode()[:NAME_LIMIT])
        self.port.send(self.protocol, Packet(CHALLENGE, self._identifier, value.emit()).emit())

    def receive(self, information: bytes, now: float) -> None:
        """Take a response."""
        packet = Packet.parse(information, "chap")
        if packet.code != RESPONSE:
            self.other(packet)
            return
        response = Value.parse(packet.data)
        if packet.identifier != self._identifier:
            self.stale(packet.identifier, response)
        elif self._verdict is not None:
            self.port.send(self.protocol, self._verdict.emit())  # RFC 1994 section 4.2: the same result again
        elif self._asked is not None:
            if response != self._asked:
                self.port.drop("chap_pending")
        else:
            self._check(response)

    def _check(self, response: Value) -> None:
        self.answered()
        self._asked = response
        flaw = self.flaw(response)
        if flaw:
            self._refuse(AuthReject(Slug.AUTH_FAILED, flaw))
        else:
            self.port.ask(self.method, response.name, self._identifier, self._challenge, response.value)

    def flaw(self, response: Value) -> str:
        """Why a response need not be checked at all; empty if it must be."""
        if len(response.value) != self.response_size:
            return f"a response of {len(response.value)} octets, {self.response_size} are needed"
        if len(response.name) > NAME_LIMIT:
            return f"a name of {len(response.name)} octets"
        return ""

    def result(self, verdict: AuthResult, now: float) -> None:
        """Tell the peer, or give it another challenge."""
        if self._asked is None or self._verdict is not None or not isinstance(verdict, AuthAccept | AuthReject):
            return
        if isinstance(verdict, AuthReject):
            if not self.retry(verdict):
                self._refuse(verdict)
            return
        text = self.success_text(verdict)
        if text is None:
            self._refuse(AuthReject(Slug.SERVER_PROOF_MISSING, "accepted without the proof that MS-CHAPv2 owes the client"))
            return
        self._say(SUCCESS, text)
        self.port.admitted(verdict)

    def other(self, packet: Packet) -> None:
        """A packet that is no Response."""
        self.port.drop("chap_code")

    def stale(self, identifier: int, response: Value) -> None:
        """A response to a challenge that is not the current one."""
        self.port.drop("chap_identifier")

    def retry(self, verdict: AuthReject) -> bool:
        """Whether the peer was given another chance. With MD5 there is none: its client would have to be asked anew."""
        return False

    def _refuse(self, verdict: AuthReject) -> None:
        self._say(FAILURE, self.failure_text(verdict))
        self.port.fail(Failure(verdict.slug, verdict.detail))

    def _say(self, code: int, text: bytes) -> None:
        self._verdict = Packet(code, self._identifier, text)
        self.port.send(self.protocol, self._verdict.emit())

    def success_text(self, verdict: AuthAccept) -> bytes | None:
        """The message of Success; ``None`` if something that must be in it is missing."""
        return b"Access granted"

    def failure_text(self, verdict: AuthReject) -> bytes:
        """The message of Failure."""
        return b"Authentication failed"


class ChapMd5Server(ChapServer):
    """CHAP with MD5."""

    method = AuthMethod.CHAP_MD5


class ChapClient(AuthClient):
    """Answers challenges, at the start and whenever the server asks again, and judges what the server says."""

    protocol = Proto.CHAP

    _challenge: Packet | None = None
    _response: Packet | None = None
    _server_name = b""
    _succeeded = False

    def start(self, now: float) -> None:
        """Nothing: the server begins."""

    def resend(self) -> None:
        """Send the last response again, if there is one."""
        if self._response is not None:
            self.port.send(self.protocol, self._response.emit())

    def receive(self, information: bytes, now: float) -> None:
        """Take a challenge or a verdict."""
        packet = Packet.parse(information, "chap")
        if packet.code == CHALLENGE:
            self._receive_challenge(packet, now)
        elif packet.code not in {SUCCESS, FAILURE}:
            self.port.drop("chap_code")
        elif self._response is None:
            self.unasked(packet)
        elif packet.identifier != self._response.identifier:
            self.port.drop("chap_identifier")
        elif packet.code == SUCCESS:
            self._receive_success(packet)
        else:
            self.answered()
            self.refused(packet, now)

    def _receive_challenge(self, packet: Packet, now: float) -> None:
        if packet != self._challenge:  # otherwise a retransmission, and the same response again
            challenge = Value.parse(packet.data)
            value = self.respond(packet.identifier, challenge)
            if value is None:
                self.port.drop("chap_size")
                return
            self._challenge, self._server_name = packet, challenge.name
            name = self.credentials.username.encode()[:NAME_LIMIT]
            self._response = Packet(RESPONSE, packet.identifier, Value(value, name).emit())
        self.resend()
        self.await_answer(now)

    def _receive_success(self, packet: Packet) -> None:
        self.answered()
        flaw = self.verify(packet.data)
        if flaw is not None:
            self.port.fail(flaw)
        elif not self._succeeded:
            self._succeeded = True
            self.port.recognised(self._server_name, self.keys())

    def unasked(self, packet: Packet) -> None:
        """A verdict came before anything was proved."""
        self.port.drop("chap_identifier")

    def refused(self, packet: Packet, now: float) -> None:
        """The server's Failure."""
        self.port.fail(self.failure(packet.data))

    @abstractmethod
    def respond(self, identifier: int, challenge: Value) -> bytes | None:
        """The value of the Response; ``None`` if the challenge cannot be answered."""

    def verify(self, message: bytes) -> Failure | None:
        """What is wrong with the server's Success, if anything is."""
        return None

    def failure(self, message: bytes) -> Failure:
        """What the server's Failure says."""
        return Failure(Slug.AUTH_FAILED, f'the server says "{printable(message, 100)}"')

    def keys(self) -> Keys | None:
        """Start keys for MPPE."""
        return None


class ChapMd5Client(ChapClient):
    """CHAP with MD5."""

    method = AuthMethod.CHAP_MD5

    def respond(self, identifier: int, challenge: Value) -> bytes | None:
        """MD5 over identifier, password and challenge."""
        if not challenge.value:
            return None
        return md5_response(identifier, self.credentials.password.encode(), challenge.value)


def same(one: bytes, other: bytes) -> bool:
    """Whether two proofs are equal, in constant time."""
    return hmac.compare_digest(one, other)
