"""MS-CHAP version 2 (RFC 2759) and version 1 (RFC 2433): both roles of the exchange. The computations are in ``mschap_crypto``.

::

    Response value, 49 octets:  peer challenge (16) | reserved (8) | NT response (24) | flags (1)      version 2
                                LM response (24) | NT response (24) | flag (1)                        version 1
    Success message:            S=<40 hex digits> M=<text>                                            version 2
    Failure message:            E=<number> R=<0 or 1> C=<hex digits> V=3 M=<text>
    Change-Password (code 7):   encrypted new password (516) | encrypted old hash (16) | peer challenge (16) | reserved (8)
                                | NT response (24) | flags (2)                                        answers E=648 of version 2

Reserved octets and flags that are not zero are let pass, as Windows and pppd do: they enter no computation.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from headrace.errors import Slug
from headrace.model import Failure, printable
from headrace.ppp.auth import ATTEMPTS, Keys, error_code, slug_of_code
from headrace.ppp.chap import FAILURE, SUCCESS, ChapClient, ChapServer, Value, same
from headrace.ppp.config import AuthAccept, AuthMethod, AuthReject
from headrace.ppp.frame import Packet
from headrace.ppp.mppe import start_keys_v1
from headrace.ppp.mschap_crypto import (
    CHALLENGE_SIZE,
    CHANGE_SIZE,
    RESPONSE_SIZE,
    hide_new_password,
    nt_password_hash,
    nt_response,
    prove,
)

CHANGE_PASSWORD: Final = 7
"""The code of a Change-Password packet (RFC 2759 section 7)."""

CHANGE_PATIENCE: Final = 120.0
"""Seconds that a user has to think of a new password."""

CHALLENGE_SIZE_V1: Final = 8

_TEXT: Final = {
    646: b"The account may not log on at this time",
    647: b"The account is disabled",
    648: b"The password has expired",
    649: b"The account has no permission to dial in",
    691: b"Authentication failed",
    709: b"The new password cannot be taken",
}


def failure_message(slug: Slug, challenge: bytes, *, retry: bool, version: int = 3) -> bytes:
    """The text of a Failure (RFC 2759 section 6, RFC 2433 section 6). The challenge is mandatory even where it serves nothing."""
    code = error_code(slug)
    return b"E=%d R=%d C=%s V=%d M=%s" % (code, retry, challenge.hex().upper().encode(), version, _TEXT[code])


def success_message(proof: bytes | None) -> bytes | None:
    """The text of a Success: the server's proof; ``None`` if that is none."""
    return proof + b" M=Access granted" if proof and re.fullmatch(rb"S=[0-9A-Fa-f]{40}", proof) else None


def check_success(message: bytes, expected: str) -> Failure | None:
    """What is wrong with a server's proof, if anything is."""
    proof = re.match(rb"S=[0-9A-Fa-f]{40}(?![0-9A-Fa-f])", message)
    if proof is None:
        return Failure(Slug.SERVER_PROOF, "the server's Success has no proof in it")
    if not same(proof[0].upper(), expected.encode()):
        return Failure(Slug.SERVER_PROOF, "the server's proof is wrong: it does not know the password")
    return None


@dataclass(frozen=True, slots=True)
class Refusal:
    """A server's Failure, read."""

    failure: Failure
    challenge: bytes = b""
    """For a new password; empty if the server would not take one."""

    @classmethod
    def parse(cls, message: bytes) -> Refusal:
        """Read the text of a Failure. Whatever cannot be read is a plain refusal."""
        found = re.search(rb"(?:^|\s)E=(\d{1,9})(?!\d)", message)
        code = int(found[1]) if found else 691
        next_challenge = re.search(rb"\sC=([0-9A-Fa-f]{32})(?![0-9A-Fa-f])", message)
        version = re.search(rb"\sV=(\d{1,9})(?!\d)", message)
        failure = Failure(slug_of_code(code), f'the server says "{printable(message, 150)}"')
        may_change = code == 648 and next_challenge is not None and version is not None and int(version[1]) >= 3
        return cls(failure, bytes.fromhex(next_challenge[1].decode()) if may_change and next_challenge else b"")


class MsChapV2Server(ChapServer):
    """Demands MS-CHAPv2."""

    method = AuthMethod.MSCHAP_V2
    challenge_size = CHALLENGE_SIZE
    response_size = RESPONSE_SIZE

    _refusals = 0
    _changing = False
    _wrong: tuple[Packet | None, Value | None] = (None, None)

    def flaw(self, response: Value) -> str:
        """As for CHAP, and a peer challenge that is our own: a reflected proof would be checked against itself (N139)."""
        flaw = super().flaw(response)
        if not flaw and same(response.value[:CHALLENGE_SIZE], self._challenge):
            return "the peer's challenge is our own, reflected"
        return flaw

    def success_text(self, verdict: AuthAccept) -> bytes | None:
        """The server's proof and a text; ``None`` without a proof."""
        return success_message(verdict.mschap_success)

    def failure_text(self, verdict: AuthReject) -> bytes:
        """Error number, no retry, and the challenge that is mandatory all the same."""
        return failure_message(verdict.slug, self._challenge, retry=False)

    def retry(self, verdict: AuthReject) -> bool:
        """Give the peer a new challenge inside the Failure: to try again, unless it has had its attempts, or for a new password."""
        self._refusals += 1
        change = verdict.slug is Slug.PASSWORD_EXPIRED and not self._changing
        if not change and (not verdict.retry or self._refusals >= ATTEMPTS):
            return False
        if change:
            self._changing = True
            self.doom = Failure(verdict.slug, verdict.detail)
            self.patience = CHANGE_PATIENCE
        # Section 6: the Failure bears the old identifier and the next challenge; what answers it bears the identifier after it.
        self._challenge = self.rand(CHALLENGE_SIZE)
        failure = Packet(FAILURE, self._identifier, failure_message(verdict.slug, self._challenge, retry=not change))
        self._wrong, self._asked = (failure, self._asked), None
        self._identifier = (self._identifier + 1) & 0xFF
        self.port.send(self.protocol, failure.emit())
        return True

    def other(self, packet: Packet) -> None:
        """A Change-Password, if it was asked for."""
        if packet.code != CHANGE_PASSWORD or not self._changing:
            super().other(packet)
        elif packet.identifier != self._identifier:
            self.port.drop("chap_identifier")
        elif self._verdict is not None:
            self.port.send(self.protocol, self._verdict.emit())
        elif self._asked is not None:
            self.port.drop("chap_pending")
        else:
            # Flags are two octets here and one in a Response.
            wanted = CHANGE_SIZE + RESPONSE_SIZE + 1
            change, value = packet.data[:CHANGE_SIZE], packet.data[CHANGE_SIZE:wanted]
            if len(packet.data) < wanted:
                self.port.drop("chap_size")
                return
            assert self._wrong[1] is not None
            self._asked = Value(value[:RESPONSE_SIZE], self._wrong[1].name)
            self.port.ask(self.method, self._asked.name, self._identifier, self._challenge, self._asked.value, change)

    def stale(self, identifier: int, response: Value) -> None:
        """The wrong response once more: its Failure was lost."""
        failure, wrong = self._wrong
        if failure is not None and identifier == failure.identifier and response == wrong:
            self.port.send(self.protocol, failure.emit())  # the peer has not heard that it may try again
        else:
            super().stale(identifier, response)


class MsChapServer(ChapServer):
    """Demands MS-CHAP version 1. Only the NT response counts; one try, and no change of passwords."""

    method = AuthMethod.MSCHAP
    challenge_size = CHALLENGE_SIZE_V1
    response_size = RESPONSE_SIZE

    def flaw(self, response: Value) -> str:
        """As for CHAP, and a response that has only the LM part, which is worth nothing."""
        flaw = super().flaw(response)
        if not flaw and not response.value[48] & 1:
            return "an LM response alone, which is not taken"
        return flaw

    def success_text(self, verdict: AuthAccept) -> bytes | None:
        """Empty: version 1 has nothing to say."""
        return b""

    def failure_text(self, verdict: AuthReject) -> bytes:
        """Error number and challenge."""
        return failure_message(verdict.slug, self._challenge, retry=False, version=2)


class MsChapClient(ChapClient):
    """Answers MS-CHAP version 1. The server proves nothing."""

    method = AuthMethod.MSCHAP

    _keys: Keys | None = None

    def respond(self, identifier: int, challenge: Value) -> bytes | None:
        """No LM response, the NT response, and the flag that says so."""
        if len(challenge.value) != CHALLENGE_SIZE_V1:
            return None
        nt_hash = nt_password_hash(self.credentials.password)
        if self.config.mschap_mppe:
            self._keys = Keys(*start_keys_v1(nt_hash, challenge.value), bits=(128,))
        return bytes(24) + nt_response(nt_hash, challenge.value) + b"\x01"

    def failure(self, message: bytes) -> Failure:
        """Map the error number of the Failure."""
        return Refusal.parse(message).failure

    def keys(self) -> Keys | None:
        """Start keys, where the configuration allows them."""
        return self._keys


class MsChapV2Client(ChapClient):
    """Answers MS-CHAPv2 and makes the server prove itself."""

    method = AuthMethod.MSCHAP_V2

    _expected = ""
    _keys: Keys | None = None
    _changing = False

    def respond(self, identifier: int, challenge: Value) -> bytes | None:
        """A peer challenge of our own and the NT response; what the server must prove is kept."""
        if len(challenge.value) != CHALLENGE_SIZE:
            return None
        proof = prove(self.credentials.username, self.credentials.password, challenge.value, self.rand)
        self._expected, self._keys = proof.expected, Keys(*proof.keys)
        return proof.value

    def unasked(self, packet: Packet) -> None:
        """A verdict before any proof is an impostor's or a refusal; neither can go on."""
        if packet.code == SUCCESS:
            self.port.fail(Failure(Slug.SERVER_PROOF, "the server claims success before it saw a response"))
        else:
            self.port.fail(self.failure(packet.data))

    def verify(self, message: bytes) -> Failure | None:
        """The server's proof, which must be there and right."""
        return check_success(message, self._expected)

    def refused(self, packet: Packet, now: float) -> None:
        """The server's Failure: where it asks for a new password and there is one, change it (RFC 2759 section 7)."""
        refusal = Refusal.parse(packet.data)
        new = self.credentials.new_password
        if not refusal.challenge or new is None or self._changing:
            self.port.fail(refusal.failure)
            return
        self._changing = True
        self.doom = refusal.failure
        self.patience = CHANGE_PATIENCE
        proof = prove(self.credentials.username, new, refusal.challenge, self.rand)
        self._expected, self._keys = proof.expected, Keys(*proof.keys)
        change = hide_new_password(nt_password_hash(self.credentials.password), new, self.rand)
        self._response = Packet(CHANGE_PASSWORD, (packet.identifier + 1) & 0xFF, change + proof.value + b"\0")
        self.resend()
        self.await_answer(now)

    def failure(self, message: bytes) -> Failure:
        """Map the error number of the Failure."""
        return Refusal.parse(message).failure

    def keys(self) -> Keys | None:
        """Start keys from our own hash, for the response that was accepted."""
        return self._keys
