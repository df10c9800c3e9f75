"""MS-CHAP version 2 (RFC 2759): the computations, which the account store uses too, and both roles of the exchange.

::

    Response value, 49 octets:  peer challenge (16) | reserved (8) | NT response (24) | flags (1)
    Success message:            S=<40 hex digits> M=<text>
    Failure message:            E=<number> R=<0 or 1> C=<32 hex digits> V=3 M=<text>

Reserved octets and flags that are not zero are let pass, as Windows and pppd do: they enter no computation. A password that has
expired cannot be changed here: the Failure says R=0, and Change-Password packets (code 7) are dropped.
"""

from __future__ import annotations

import hashlib
import re
from typing import Final

from cryptography.hazmat.decrepit.ciphers.algorithms import TripleDES
from cryptography.hazmat.primitives.ciphers import Cipher, modes

from headrace.errors import Slug
from headrace.model import Failure, printable
from headrace.ppp.auth import ATTEMPTS, Keys, error_code, slug_of_code
from headrace.ppp.chap import FAILURE, SUCCESS, ChapClient, ChapServer, Value, same
from headrace.ppp.config import AuthAccept, AuthMethod, AuthReject
from headrace.ppp.frame import Packet
from headrace.ppp.md4 import md4
from headrace.ppp.mppe import start_keys

CHALLENGE_SIZE: Final = 16
RESPONSE_SIZE: Final = 49

_SIGN: Final = b"Magic server to client signing constant"
_ITERATE: Final = b"Pad to make it do more than one iteration"

_TEXT: Final = {
    646: b"The account may not log on at this time",
    647: b"The account is disabled",
    648: b"The password has expired",
    649: b"The account has no permission to dial in",
    691: b"Authentication failed",
}


def nt_password_hash(password: str) -> bytes:
    """MD4 of the password in UTF-16, low octet first (RFC 2759 section 8.3): 16 octets."""
    return md4(password.encode("utf-16-le", "surrogatepass"))


def challenge_hash(peer_challenge: bytes, auth_challenge: bytes, username: bytes | str) -> bytes:
    r"""The 8 octets that both proofs stand on (section 8.2). Of ``DOMAIN\user`` only the part behind the backslash enters, as sent."""
    name = username.encode() if isinstance(username, str) else username
    return hashlib.sha1(peer_challenge + auth_challenge + name.rpartition(b"\\")[2]).digest()[:8]


def nt_response(nt_hash: bytes, challenge8: bytes) -> bytes:
    """The 24 octets that prove the password: the challenge under three DES keys made of the hash (section 8.5)."""
    padded = nt_hash + bytes(5)
    return b"".join(_des(padded[start : start + 7], challenge8) for start in (0, 7, 14))


def _des(key7: bytes, block: bytes) -> bytes:
    """One block under a DES key of 7 octets, spread over 8 with an unused parity bit each."""
    bits = int.from_bytes(key7, "big")
    key = bytes((bits >> shift & 0x7F) << 1 for shift in range(49, -1, -7))
    return Cipher(TripleDES(key * 3), modes.ECB()).encryptor().update(block)


def authenticator_response(nt_hash: bytes, response: bytes, challenge8: bytes) -> str:
    """``S=`` and 40 upper-case digits: the proof that the server knows the password too (section 8.7)."""
    digest = hashlib.sha1(md4(nt_hash) + response + _SIGN).digest()
    return "S=" + hashlib.sha1(digest + challenge8 + _ITERATE).hexdigest().upper()


class MsChapV2Server(ChapServer):
    """Demands MS-CHAPv2."""

    method = AuthMethod.MSCHAP_V2
    challenge_size = CHALLENGE_SIZE
    response_size = RESPONSE_SIZE

    _refusals = 0
    _wrong: tuple[Packet | None, Value | None] = (None, None)

    def flaw(self, response: Value) -> str:
        """As for CHAP, and a peer challenge that is our own: a reflected proof would be checked against itself (N139)."""
        flaw = super().flaw(response)
        if not flaw and same(response.value[:CHALLENGE_SIZE], self._challenge):
            return "the peer's challenge is our own, reflected"
        return flaw

    def success_text(self, verdict: AuthAccept) -> bytes | None:
        """The server's proof and a text; ``None`` without a proof."""
        proof = verdict.mschap_success
        return proof + b" M=Access granted" if proof and re.fullmatch(rb"S=[0-9A-Fa-f]{40}", proof) else None

    def failure_text(self, verdict: AuthReject) -> bytes:
        """Error number, no retry, and the challenge that is mandatory all the same."""
        return self._failure(verdict.slug, retry=False)

    def retry(self, verdict: AuthReject) -> bool:
        """Give the peer a new challenge inside the Failure, unless it has had its attempts."""
        self._refusals += 1
        if not verdict.retry or self._refusals >= ATTEMPTS:
            return False
        # Section 6: the Failure bears the old identifier and the next challenge; the next response bears the identifier after it.
        self._challenge = self.rand(CHALLENGE_SIZE)
        failure = Packet(FAILURE, self._identifier, self._failure(verdict.slug, retry=True))
        self._wrong, self._asked = (failure, self._asked), None
        self._identifier = (self._identifier + 1) & 0xFF
        self.port.send(self.protocol, failure.emit())
        return True

    def stale(self, identifier: int, response: Value) -> None:
        """The wrong response once more: its Failure was lost."""
        failure, wrong = self._wrong
        if failure is not None and identifier == failure.identifier and response == wrong:
            self.port.send(self.protocol, failure.emit())  # the peer has not heard that it may try again
        else:
            super().stale(identifier, response)

    def _failure(self, slug: Slug, *, retry: bool) -> bytes:
        code = error_code(slug)
        return b"E=%d R=%d C=%s V=3 M=%s" % (code, retry, self._challenge.hex().upper().encode(), _TEXT[code])


class MsChapV2Client(ChapClient):
    """Answers MS-CHAPv2 and makes the server prove itself."""

    method = AuthMethod.MSCHAP_V2

    _expected = ""
    _keys: Keys | None = None

    def respond(self, identifier: int, challenge: Value) -> bytes | None:
        """A peer challenge of our own and the NT response; what the server must prove is kept."""
        if len(challenge.value) != CHALLENGE_SIZE:
            return None
        nt_hash = nt_password_hash(self.credentials.password)
        peer_challenge = self.rand(CHALLENGE_SIZE)
        challenge8 = challenge_hash(peer_challenge, challenge.value, self.credentials.username)
        response = nt_response(nt_hash, challenge8)
        self._expected = authenticator_response(nt_hash, response, challenge8)
        self._keys = Keys(*start_keys(nt_hash, response, server=False))
        return peer_challenge + bytes(8) + response + b"\0"

    def unasked(self, packet: Packet) -> None:
        """A verdict before any proof is an impostor's or a refusal; neither can go on."""
        if packet.code == SUCCESS:
            self.port.fail(Failure(Slug.SERVER_PROOF, "the server claims success before it saw a response"))
        else:
            self.port.fail(self.failure(packet.data))

    def verify(self, message: bytes) -> Failure | None:
        """The server's proof, which must be there and right."""
        proof = re.match(rb"S=[0-9A-Fa-f]{40}(?![0-9A-Fa-f])", message)
        if proof is None:
            return Failure(Slug.SERVER_PROOF, "the server's Success has no proof in it")
        if not same(proof[0].upper(), self._expected.encode()):
            return Failure(Slug.SERVER_PROOF, "the server's proof is wrong: it does not know the password")
        return None

    def failure(self, message: bytes) -> Failure:
        """Map the error number of the Failure."""
        found = re.search(rb"(?:^|\s)E=(\d{1,9})(?!\d)", message)
        code = int(found[1]) if found else 691
        return Failure(slug_of_code(code), f'the server says "{printable(message, 150)}"')

    def keys(self) -> Keys | None:
        """Start keys from our own hash, for the response that was accepted."""
        return self._keys
