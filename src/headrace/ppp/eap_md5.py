"""EAP's MD5-Challenge (RFC 3748 section 5.4): CHAP with MD5 inside of EAP. No keys, no proof of the server."""

from __future__ import annotations

from headrace.errors import Slug
from headrace.model import Failure
from headrace.ppp.chap import NAME_LIMIT, Value, md5_response
from headrace.ppp.config import AuthAccept, AuthMethod, AuthReject
from headrace.ppp.eap_peer import PeerMethod
from headrace.ppp.eap_server import ServerMethod

_SIZE = 16


class Md5Server(ServerMethod):
    """Sends one challenge."""

    method = AuthMethod.EAP_MD5

    _challenge = b""

    def start(self) -> None:
        """Send the challenge."""
        self._challenge = self.rand(_SIZE)
        self.server.say(Value(self._challenge, self.config.name.encode()[:NAME_LIMIT]).emit())

    def receive(self, data: bytes) -> None:
        """Have the response checked; whose it is the identity says."""
        value = Value.parse(data).value
        if len(value) != _SIZE:
            self.server.reject(Failure(Slug.AUTH_FAILED, f"a response of {len(value)} octets, {_SIZE} are needed"))
        else:
            self.server.ask(self.identity, self._challenge, value)

    def result(self, verdict: AuthAccept | AuthReject) -> None:
        """One try, and that is all."""
        if isinstance(verdict, AuthAccept):
            self.server.accept(verdict)
        else:
            self.server.reject(Failure(verdict.slug, verdict.detail))


class Md5Peer(PeerMethod):
    """Answers a challenge."""

    method = AuthMethod.EAP_MD5

    def receive(self, data: bytes, identifier: int) -> bytes | None:
        """MD5 over identifier, password and challenge, and whose it is."""
        challenge = Value.parse(data).value
        if not challenge:
            self.peer.port.drop("eap_size")
            return None
        self.complete = True
        # pppd looks the secret up by this name, not by that of the identity.
        name = self.credentials.username.encode()[:NAME_LIMIT]
        return Value(md5_response(identifier, self.credentials.password.encode(), challenge), name).emit()
