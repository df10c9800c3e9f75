"""The Password Authentication Protocol (RFC 1334 section 2). The password is in clear: only inside ESP, and it gives no MPPE keys.

::

    Authenticate-Request   code 1 | id | length | peer-id length | peer-id | passwd length | password
    Authenticate-Ack, -Nak code 2, 3 | id | length | message length | message
"""

from __future__ import annotations

import hmac
from typing import Final

from headrace.errors import Slug
from headrace.model import Failure, printable
from headrace.ppp.auth import ATTEMPTS, AuthClient, AuthServer
from headrace.ppp.config import AuthAccept, AuthMethod, AuthReject, AuthResult
from headrace.ppp.frame import Packet, Proto
from headrace.wire import Malformed, Reader, Writer

REQUEST: Final = 1
ACK: Final = 2
NAK: Final = 3


class PapServer(AuthServer):
    """Waits for a name and a password."""

    protocol = Proto.PAP
    method = AuthMethod.PAP

    _asked: Packet | None = None
    _identifier = 0
    _answer: Packet | None = None
    _refusals = 0

    def start(self, now: float) -> None:
        """Nothing: the peer begins."""

    def resend(self) -> None:
        """Nothing is ever out: the peer repeats its request."""

    def receive(self, information: bytes, now: float) -> None:
        """Take a request; one that is repeated gets the same answer again."""
        packet = Packet.parse(information, "pap")
        if packet.code != REQUEST:
            self.port.drop("pap_code")
        elif self._answer is not None and self._answer.code == ACK:
            self.port.send(self.protocol, Packet(ACK, packet.identifier, self._answer.data).emit())
        elif self._asked is not None:
            # A copy of what is being checked. It may bear a new identifier, which the answer then repeats.
            if hmac.compare_digest(packet.data, self._asked.data):
                self._asked = packet
            else:
                self.port.drop("pap_pending")
        else:
            self._check(packet)

    def _check(self, packet: Packet) -> None:
        try:
            reader = Reader(packet.data, "pap", 4)
            name = reader.take(reader.u8("size"), "size")
            password = reader.take(reader.u8("size"), "size")
        except Malformed as error:
            self._refuse(packet, Failure(Slug.AUTH_FAILED, str(error)))
            return
        self._asked = packet
        self.port.ask(self.method, name, packet.identifier, b"", password)

    def result(self, verdict: AuthResult, now: float) -> None:
        """Tell the peer, and let it try again where the verdict says so."""
        asked, self._asked = self._asked, None
        if asked is None or not isinstance(verdict, AuthAccept | AuthReject):
            return
        if isinstance(verdict, AuthAccept):
            self._say(ACK, asked, b"")
            self.port.admitted(verdict)
            return
        self._refusals += 1
        if verdict.retry and self._refusals < ATTEMPTS:
            self._say(NAK, asked, b"Authentication failed")
        else:
            self._refuse(asked, Failure(verdict.slug, verdict.detail))

    def _refuse(self, asked: Packet, failure: Failure) -> None:
        self._say(NAK, asked, b"Authentication failed")
        self.port.fail(failure)

    def _say(self, code: int, asked: Packet, message: bytes) -> None:
        self._answer = Packet(code, asked.identifier, Writer().u8(len(message)).raw(message).bytes())
        self.port.send(self.protocol, self._answer.emit())


class PapClient(AuthClient):
    """Sends name and password until they are answered."""

    protocol = Proto.PAP
    method = AuthMethod.PAP

    _request: Packet | None = None
    _done = False

    def start(self, now: float) -> None:
        """Send name and password."""
        name, password = self.credentials.username.encode()[:255], self.credentials.password.encode()[:255]
        data = Writer().u8(len(name)).raw(name).u8(len(password)).raw(password).bytes()
        self._request = Packet(REQUEST, self.rand(1)[0], data)
        self.resend()
        self.await_answer(now)

    def resend(self) -> None:
        """Send them again."""
        if self._request is not None:
            self.port.send(self.protocol, self._request.emit())

    def receive(self, information: bytes, now: float) -> None:
        """Take the verdict."""
        packet = Packet.parse(information, "pap")
        if self._request is None or self._done or packet.identifier != self._request.identifier:
            self.port.drop("pap_identifier")
        elif packet.code == ACK:
            self._done = True
            self.answered()
            self.port.recognised(b"", None)
        elif packet.code == NAK:
            self._done = True
            self.answered()
            message = printable(packet.data[1 : 1 + packet.data[0]] if packet.data else b"", 100)
            self.port.fail(Failure(Slug.AUTH_FAILED, f'the server says "{message}"'))
        else:
            self.port.drop("pap_code")
