"""EAP-MSCHAPv2 (draft-kamath-pppext-eap-mschapv2): the exchange of RFC 2759 inside of EAP.

::

    +---------------+---------------+-------------------------------+
    |    OpCode     | MS-CHAPv2 id  |           MS-Length           |   MS-Length: that of the EAP packet less 5
    +---------------+---------------+-------------------------------+
    |  Challenge 1, Response 2:   value size | value (16, 49) | name
    |  Success 3, Failure 4:      message                             their responses are the OpCode alone
    |  Change-Password 7:         as in RFC 2759 section 7
"""

from __future__ import annotations

from typing import Final

from headrace.errors import Slug
from headrace.model import Failure
from headrace.ppp.auth import ATTEMPTS, Keys
from headrace.ppp.chap import NAME_LIMIT, Value, same
from headrace.ppp.config import AuthAccept, AuthMethod, AuthReject
from headrace.ppp.eap import HEADER
from headrace.ppp.eap_peer import PeerMethod
from headrace.ppp.eap_server import ServerMethod
from headrace.ppp.mschap import CHANGE_PATIENCE, Refusal, check_success, failure_message, success_message
from headrace.ppp.mschap_crypto import CHALLENGE_SIZE, CHANGE_SIZE, RESPONSE_SIZE, hide_new_password, nt_password_hash, prove
from headrace.wire import Malformed, Reader, Writer

CHALLENGE: Final = 1
RESPONSE: Final = 2
SUCCESS: Final = 3
FAILURE: Final = 4
CHANGE_PASSWORD: Final = 7

_HEADER: Final = 4


def emit(code: int, identifier: int, body: bytes) -> bytes:
    """One message as type-data."""
    return Writer().u8(code).u8(identifier).u16(_HEADER + len(body)).raw(body).bytes()


def parse(data: bytes) -> tuple[int, int, bytes]:
    """OpCode, identifier and body. Raises ``Malformed`` if MS-Length is not that of the packet (N145)."""
    reader = Reader(data, "eap", HEADER)
    code, identifier, length = reader.u8("mschap"), reader.u8("mschap"), reader.u16("mschap")
    if length != len(data):
        raise reader.fail("mschap", f"MS-Length {length} in a message of {len(data)} octets")
    return code, identifier, reader.rest()


class MsChapServer(ServerMethod):
    """Demands the proof."""

    method = AuthMethod.EAP_MSCHAP_V2

    _challenge = b""
    _name = b""
    _identifier = 0
    _expected = frozenset({RESPONSE})
    _refusals = 0
    _changing = False
    _grant: AuthAccept | None = None
    _verdict: AuthReject | None = None

    def start(self) -> None:
        """Send the challenge."""
        self._identifier = (self.server.identifier + 1) & 0xFF
        self._challenge = self.rand(CHALLENGE_SIZE)
        self._say(CHALLENGE, Value(self._challenge, self.config.name.encode()[:NAME_LIMIT]).emit())

    def _say(self, code: int, body: bytes) -> None:
        # A verdict has the identifier of what it judges, as in RFC 2759; pppd finds by it what proof it waits for.
        self.server.say(emit(code, self._identifier, body))

    def receive(self, data: bytes) -> None:
        """Take what the peer may say now: a proof, a new password, or that it has heard."""
        code = Reader(data, "eap", HEADER).u8("mschap")
        if code not in self._expected:
            raise Malformed("eap", "mschap", HEADER, f"OpCode {code} where {sorted(self._expected)} may stand")
        if code == SUCCESS:
            assert self._grant is not None
            self.server.accept(self._grant)
        elif code == FAILURE:
            self._refused()
        elif code == RESPONSE:
            self._receive_response(data)
        else:
            self._receive_change(data)

    def _refused(self) -> None:
        """The peer acknowledges our refusal, or refuses us: our proof was wrong to it."""
        if self._verdict is not None:
            self.server.reject(Failure(self._verdict.slug, self._verdict.detail))
        else:
            self.server.reject(Failure(Slug.SERVER_PROOF, "the client does not accept the proof that it was given"))

    def _receive_response(self, data: bytes) -> None:
        _, identifier, body = parse(data)
        response = Value.parse(body)
        if identifier != self._identifier and not self._refusals:
            raise Malformed("eap", "mschap", HEADER + 1, f"identifier {identifier}, not {self._identifier}")
        self._identifier = identifier
        if len(response.value) != RESPONSE_SIZE or len(response.name) > NAME_LIMIT:
            detail = f"a response of {len(response.value)} octets and a name of {len(response.name)}"
            self.server.reject(Failure(Slug.AUTH_FAILED, detail))
        elif same(response.value[:CHALLENGE_SIZE], self._challenge):
            self.server.reject(Failure(Slug.AUTH_FAILED, "the peer's challenge is our own, reflected"))
        else:
            self._name = response.name
            self.server.ask(self._name, self._challenge, response.value)

    def _receive_change(self, data: bytes) -> None:
        _, self._identifier, body = parse(data)
        reader = Reader(body, "eap", HEADER + _HEADER)
        change = reader.take(CHANGE_SIZE, "mschap")
        self.server.ask(self._name, self._challenge, reader.take(RESPONSE_SIZE, "mschap"), change)

    def result(self, verdict: AuthAccept | AuthReject) -> None:
        """Prove ourselves too; or refuse, with another try or a new password where that is to be had."""
        if isinstance(verdict, AuthAccept):
            self._accept(verdict)
            return
        self._verdict = verdict
        self._refusals += 1
        change = verdict.slug is Slug.PASSWORD_EXPIRED and not self._changing
        retry = verdict.retry and self._refusals < ATTEMPTS and not change
        self._changing = self._changing or change
        self._expected = frozenset({FAILURE} | ({CHANGE_PASSWORD} if change else set()) | ({RESPONSE} if retry else set()))
        self._challenge = self.rand(CHALLENGE_SIZE)
        if change:
            self.server.port.wait(Failure(verdict.slug, verdict.detail), CHANGE_PATIENCE)
        self._say(FAILURE, failure_message(verdict.slug, self._challenge, retry=retry))

    def _accept(self, grant: AuthAccept) -> None:
        text = success_message(grant.mschap_success)
        if text is None:
            detail = "accepted without the proof that MS-CHAPv2 owes the client"
            self.server.reject(Failure(Slug.SERVER_PROOF_MISSING, detail))
            return
        self._grant, self._verdict = grant, None
        self._expected = frozenset({SUCCESS, FAILURE})
        self._say(SUCCESS, text)


class MsChapPeer(PeerMethod):
    """Gives the proof, and demands the server's."""

    method = AuthMethod.EAP_MSCHAP_V2

    _expected = ""
    _changing = False
    _made: tuple[bytes, bytes] | None = None

    def receive(self, data: bytes, identifier: int) -> bytes | None:
        """Answer a challenge or a verdict."""
        code, number, body = parse(data)
        if code == CHALLENGE:
            return self._respond(number, body)
        if code == SUCCESS:
            return self._receive_success(body)
        if code == FAILURE:
            return self._receive_failure(number, body)
        self.peer.port.drop("eap_mschap")
        return None

    def _respond(self, number: int, body: bytes) -> bytes | None:
        challenge = Value.parse(body).value
        if len(challenge) != CHALLENGE_SIZE or self.complete:
            self.peer.port.drop("eap_size")
            return None
        value = self._prove(self.credentials.password, challenge)
        return emit(RESPONSE, number, Value(value, self.credentials.username.encode()[:NAME_LIMIT]).emit())

    def _prove(self, password: str, challenge: bytes) -> bytes:
        proof = prove(self.credentials.username, password, challenge, self.rand)
        self._expected, self._made = proof.expected, proof.keys
        return proof.value

    def _receive_success(self, body: bytes) -> bytes | None:
        flaw = check_success(body, self._expected) if self._made is not None else Failure(Slug.SERVER_PROOF, "success unasked")
        if flaw is not None or self._made is None:
            self.peer.fail(flaw or Failure(Slug.SERVER_PROOF))
            return None
        self.keys, self.exported = Keys(*self._made), self._made[0] + self._made[1]
        self.complete = True
        return bytes((SUCCESS,))

    def _receive_failure(self, number: int, body: bytes) -> bytes | None:
        refusal = Refusal.parse(body)
        self.complete = False
        new = self.credentials.new_password
        if not refusal.challenge or new is None or self._changing:
            self.peer.doom(refusal.failure)
            return bytes((FAILURE,))
        self._changing = True
        self.peer.doom(refusal.failure, CHANGE_PATIENCE)
        change = hide_new_password(nt_password_hash(self.credentials.password), new, self.rand)
        return emit(CHANGE_PASSWORD, number, change + self._prove(new, refusal.challenge) + b"\0")
