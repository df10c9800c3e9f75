"""Judges a user's proof against the account store: right or wrong first, then whether the account may come in.

A stranger learns nothing from it: an unknown name takes the same steps, with the same work, as a wrong password, and facts about an account
(disabled, expired, hours) are told only to who has its password. It works in any thread, several at once.
"""

from __future__ import annotations

import hmac
import secrets as system
import threading
import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

from headrace.access.accounts import NAME_MAX, Secrets, User, check_password, name_key
from headrace.access.admission import Admission
from headrace.access.certificate import NameKind, certificate_names
from headrace.access.seal import StoreError
from headrace.access.store import hash_password, verify_password
from headrace.access.throttle import LockoutPolicy, Throttle
from headrace.errors import Slug
from headrace.model import Encryption, printable
from headrace.ppp.chap import md5_response
from headrace.ppp.config import EAP_METHODS, AuthAccept, AuthMethod, AuthOffer, AuthReject
from headrace.ppp.mppe import start_keys, start_keys_v1
from headrace.ppp.mschap_crypto import (
    RESPONSE_SIZE,
    authenticator_response,
    challenge_hash,
    find_new_password,
    nt_password_hash,
    nt_response,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from headrace.access.store import AccountStore
    from headrace.model import IPAddress
    from headrace.ppp.events import AuthRequest

_REPEATED: Final = 4 * NAME_MAX
"""Octets of a name that are looked at; none of ours has more."""


@dataclass(frozen=True, slots=True)
class _Proof:
    """What became of a proof."""

    good: bool
    usable: bool = True
    """The store holds what this method needs."""
    success: bytes | None = field(default=None, repr=False)
    keys: tuple[bytes, bytes] | None = field(default=None, repr=False)
    """Send and receive, from our view."""
    bits: tuple[int, ...] = (128, 56, 40)
    """Strengths that the keys serve."""
    change: str | None = field(default=None, repr=False)
    """A new password that is to be kept."""


class Authenticator:
    """Judges proofs. ``gateway`` and ``encryption`` are the gateway's name and policy, on which groups and accounts stand.

    ``certificate_kinds`` says which names of a certificate may be an account, ``realms`` of which domains the part before the ``@`` alone
    is one; ``mschap_mppe`` lets MS-CHAP version 1 have keys.
    """

    def __init__(
        self,
        store: AccountStore,
        policy: LockoutPolicy,
        *,
        gateway: str = "headrace",
        encryption: Encryption = Encryption.OPTIONAL,
        mschap_mppe: bool = False,
        certificate_kinds: Sequence[NameKind] = tuple(NameKind),
        realms: Collection[str] = (),
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._mschap_mppe = mschap_mppe
        self._kinds = certificate_kinds
        self._realms = frozenset(map(name_key, realms))
        self.admission = Admission(store, gateway=gateway, encryption=encryption, wall=wall)
        """Whether somebody who is proved may come in."""
        self._clock = clock
        self._throttle = Throttle(policy)
        self._lock = threading.Lock()
        # Nobody's password: the work for a name that does not exist.
        self._nobody = Secrets(system.token_bytes(16), hash_password(system.token_hex(16)), system.token_bytes(16))

    def change(
        self,
        *,
        policy: LockoutPolicy,
        encryption: Encryption,
        mschap_mppe: bool,
        certificate_kinds: Sequence[NameKind],
        realms: Collection[str],
    ) -> None:
        """Go on by other rules; who has come in and who is locked out stays known."""
        with self._lock:
            self._throttle.change(policy)
            self.admission.change(encryption=encryption)
            self._mschap_mppe = mschap_mppe
            self._kinds = certificate_kinds
            self._realms = frozenset(map(name_key, realms))

    def check(self, request: AuthRequest, address: IPAddress, owner: str = "") -> AuthAccept | AuthReject | AuthOffer:
        """Judge one proof that came from ``address``; of an EAP identity, say which methods its owner may use.

        ``owner`` names the session that it is for, until ``ended(owner)``; without one the session does not count. Never raises for what a
        peer sent; a store that fails is a refusal.
        """
        raw = request.username[:_REPEATED]
        name = raw.decode("utf-8", "replace")
        if request.method is AuthMethod.EAP:
            return self._offer(name)
        if request.method is AuthMethod.EAP_TLS:
            return self._check_certificate(request, name, owner)
        now = self._clock()
        try:
            user, secrets = self._find(name)
        except (StoreError, ValueError) as error:
            return AuthReject(Slug.INTERNAL, str(error))
        key = user.key if user is not None else name_key(name)
        with self._lock:
            locked = self._throttle.locked(key, address, now)
        if locked:
            return AuthReject(Slug.AUTH_LOCKED, f"{printable(raw)} is locked for another {locked:.0f} s after wrong passwords")
        proof = self._prove(request, secrets or self._nobody)
        with self._lock:
            if user is None or not proof.good or not proof.usable:
                delay = self._throttle.failed(key, address, now)
                return self._refuse(request, raw, user, proof, delay)
            self._throttle.succeeded(key, address)
        try:
            refusal = None
            if proof.change is not None:
                refusal = self.admission.refusal(user, request.method, by_password=False)
                refusal = refusal or self._change_password(user, secrets or self._nobody, proof.change)
            return refusal or self._admit(user, request, owner, proof)
        except (StoreError, ValueError) as error:
            return AuthReject(Slug.INTERNAL, str(error))

    def ended(self, owner: str) -> None:
        """A session is over: it no longer counts. Harmless for one that never did."""
        self.admission.ended(owner)

    def in_use(self, name: str) -> int:
        """How many sessions an account has."""
        return self.admission.in_use(name)

    def known(self, username: bytes) -> bool:
        """Whether there is an account of this name here. Raises ``StoreError``."""
        return self._find(username[:_REPEATED].decode("utf-8", "replace"))[0] is not None

    def _find(self, name: str) -> tuple[User | None, Secrets | None]:
        """An account by its whole name, else by what stands behind the domain."""
        found = self._store.find(name)
        bare = name.rpartition("\\")[2]
        if found is None and bare != name:
            found = self._store.find(bare)
        return found if found is not None else (None, None)

    # --- EAP --------------------------------------------------------------------------------------------------------------

    def _offer(self, name: str) -> AuthOffer | AuthReject:
        """Which methods to offer to whoever calls himself so. A name that nobody has is offered what the gateway has."""
        try:
            user = self._find(name)[0] or self._find_certificate(name)
            grants = self.admission.grants(user) if user is not None else None
        except (StoreError, ValueError) as error:
            return AuthReject(Slug.INTERNAL, str(error))
        return AuthOffer(tuple(method for method in grants.auth if method in EAP_METHODS) if grants is not None else ())

    def _check_certificate(self, request: AuthRequest, identity: str, owner: str) -> AuthAccept | AuthReject:
        """Whose a certificate is, and whether they may come in. It has been verified up to a root that is trusted for this."""
        names = certificate_names(request.response, self._kinds)
        if not names:
            kinds = ", ".join(self._kinds)
            return AuthReject(Slug.USER_CERT_OTHER, f"the certificate holds no name that could be an account ({kinds})")
        shown = ", ".join(printable(name.encode()) for name in names)
        try:
            user = next(filter(None, map(self._find_certificate, names)), None)
            if user is None:
                return AuthReject(Slug.USER_UNKNOWN, f"there is no account for a certificate of {shown}")
            if not self._same_user(identity, names, user):
                told = printable(identity.encode())
                return AuthReject(Slug.EAP_IDENTITY, f"the identity told is {told}, the certificate is {user.name}'s ({shown})")
            return self._admit(user, request, owner, _Proof(good=True))
        except (StoreError, ValueError) as error:
            return AuthReject(Slug.INTERNAL, str(error))

    def _find_certificate(self, name: str) -> User | None:
        """An account by a name of its certificate: one it was given, its own, or its own before one of our realms."""
        given = self._store.find_certificate(name)
        if given is not None:
            return given
        found = self._store.find(name)
        local, _, realm = name.rpartition("@")
        if found is None and local and name_key(realm) in self._realms:
            found = self._store.find(local)
        return found[0] if found is not None else None

    def _same_user(self, identity: str, names: tuple[str, ...], user: User) -> bool:
        """Whether what was told before the method may stand beside the certificate: its owner's name, or nobody's (RFC 9190 section 2.1.4)."""
        bare = name_key(identity.rpartition("\\")[2])
        local = bare.partition("@")[0]
        if local in {"", "anonymous"}:
            return True
        own = {user.key, *map(name_key, names), *map(name_key, user.certificate_names)}
        return bare in own or bare in {name.partition("@")[0] for name in own}

    def _change_password(self, user: User, secrets: Secrets, password: str) -> AuthReject | None:
        """Keep a new password; the old one and the new one have been proved."""
        if secrets.nt_hash is not None and hmac.compare_digest(nt_password_hash(password), secrets.nt_hash):
            return AuthReject(Slug.PASSWORD_CHANGE, f"{user.name} sends the old password as the new one")
        try:
            check_password(password)
            self._store.set_password(user.name, password, recoverable=secrets.recoverable is not None)
        except StoreError as error:
            return AuthReject(Slug.PASSWORD_CHANGE, f"the new password of {user.name}: {error}")
        return None

    # --- the proof ------------------------------------------------------------------------------------------------------

    def _prove(self, request: AuthRequest, secrets: Secrets) -> _Proof:
        match request.method:
            case AuthMethod.MSCHAP_V2 | AuthMethod.EAP_MSCHAP_V2 | AuthMethod.PEAP:
                return self._prove_mschap(request, secrets)
            case AuthMethod.MSCHAP:
                return self._prove_mschap_v1(request, secrets)
            case AuthMethod.PAP:
                return self._prove_pap(request, secrets)
            case AuthMethod.CHAP_MD5 | AuthMethod.EAP_MD5:
                return self._prove_md5(request, secrets)
            case AuthMethod.EAP | AuthMethod.EAP_TLS:
                return _Proof(good=False)  # they have ways of their own

    def _prove_mschap(self, request: AuthRequest, secrets: Secrets) -> _Proof:
        value = request.response
        if len(value) != RESPONSE_SIZE:
            return _Proof(good=False)
        assert self._nobody.nt_hash is not None
        nt_hash = secrets.nt_hash or self._nobody.nt_hash
        change = None
        if request.change:
            # The new password, which only somebody can have hidden who knows the old one; the rest is proved with it.
            change = find_new_password(nt_hash, request.change)
            if change is None:
                return _Proof(good=False)
            nt_hash = nt_password_hash(change)
        challenge8 = challenge_hash(value[:16], request.challenge, request.username)
        response = value[24:48]
        good = hmac.compare_digest(nt_response(nt_hash, challenge8), response)
        # Made for a wrong proof too: the time must not tell.
        success = authenticator_response(nt_hash, response, challenge8).encode()
        keys = start_keys(nt_hash, response, server=True)
        return _Proof(good, secrets.nt_hash is not None, success, keys, change=change)

    def _prove_mschap_v1(self, request: AuthRequest, secrets: Secrets) -> _Proof:
        value = request.response
        if len(value) != RESPONSE_SIZE:
            return _Proof(good=False)
        assert self._nobody.nt_hash is not None
        nt_hash = secrets.nt_hash or self._nobody.nt_hash
        good = hmac.compare_digest(nt_response(nt_hash, request.challenge), value[24:48])
        keys = start_keys_v1(nt_hash, request.challenge) if self._mschap_mppe else None
        return _Proof(good, secrets.nt_hash is not None, keys=keys, bits=(128,))

    def _prove_pap(self, request: AuthRequest, secrets: Secrets) -> _Proof:
        password = request.response
        if secrets.password_hash is not None:
            return _Proof(good=verify_password(password, secrets.password_hash))
        assert self._nobody.password_hash is not None
        verify_password(password, self._nobody.password_hash)
        given = nt_password_hash(password.decode("utf-8", "replace"))
        return _Proof(secrets.nt_hash is not None and hmac.compare_digest(given, secrets.nt_hash), secrets.nt_hash is not None)

    def _prove_md5(self, request: AuthRequest, secrets: Secrets) -> _Proof:
        assert self._nobody.recoverable is not None
        password = secrets.recoverable or self._nobody.recoverable
        expected = md5_response(request.identifier, password, request.challenge)
        return _Proof(hmac.compare_digest(expected, request.response), secrets.recoverable is not None)

    # --- the verdict ----------------------------------------------------------------------------------------------------

    def _refuse(self, request: AuthRequest, raw: bytes, user: User | None, proof: _Proof, delay: float) -> AuthReject:
        shown = printable(raw)
        if user is None:
            return AuthReject(Slug.USER_UNKNOWN, f"there is no account {shown}", retry=True, delay=delay)
        if not proof.usable:
            detail = f"account {shown} has nothing that {request.method} could check; it serves {', '.join(user.methods) or 'nothing'}"
            return AuthReject(Slug.NO_NT_HASH, detail, retry=True, delay=delay)
        return AuthReject(Slug.AUTH_FAILED, f"wrong password for {shown} ({request.method})", retry=True, delay=delay)

    def _admit(self, user: User, request: AuthRequest, owner: str, proof: _Proof) -> AuthAccept | AuthReject:
        by_password = request.method is not AuthMethod.EAP_TLS and not request.change
        verdict = self.admission.decide(user, request.method, owner, by_password=by_password)
        if isinstance(verdict, AuthReject):
            return verdict
        send, receive = proof.keys or (None, None)
        return replace(verdict, mschap_success=proof.success, mppe_send_key=send, mppe_recv_key=receive, mppe_bits=proof.bits)
