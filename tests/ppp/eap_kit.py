"""Certificates, TLS factories and stores for EAP's tests, and a wire between an EAP server and an EAP peer without PPP."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

from cryptography import x509
from cryptography.x509.oid import NameOID
from tests.pki import kit
from tests.ppp.harness import Pair, Store, client_config, server_config

from headrace.errors import Slug
from headrace.ike.config import LocalCertificate
from headrace.pki.tls import OpenSslFactory
from headrace.pki.verify import ChainVerifier
from headrace.ppp.config import (
    EAP_METHODS,
    AuthAccept,
    AuthMethod,
    AuthOffer,
    AuthReject,
    ClientCredentials,
    EapConfig,
    LinkConfig,
)
from headrace.ppp.events import AuthRequest
from headrace.ppp.mschap_crypto import find_new_password, nt_password_hash

UPN = x509.ObjectIdentifier("1.3.6.1.4.1.311.20.2.3")
SERVER_NAME = "vpn.example.net"


def now() -> datetime:
    return datetime.now(UTC)


def upn(name: str) -> x509.OtherName:
    return x509.OtherName(UPN, kit.tlv(0x0C, name.encode()))


def certificate(issuer: kit.Made | None, **wishes: Any) -> kit.Made:
    """A certificate that is good today."""
    times = {"start": now() - timedelta(days=30), "end": now() + timedelta(days=300)}
    return kit.make(issuer, **{**times, **wishes})


@cache
def authority(name: str = "Users' CA") -> kit.Made:
    return kit.root(
        name, key=kit.ec_key(hash(name) % 1000 + 200), start=now() - timedelta(days=99), end=now() + timedelta(days=999)
    )


@cache
def server_certificate() -> kit.Made:
    return certificate(authority("Servers' CA"), name=SERVER_NAME, names=(SERVER_NAME,), purposes=("server",))


@cache
def user_certificate(name: str = "alice") -> kit.Made:
    return certificate(authority(), name=name, names=(f"{name}@example.net",), purposes=("client",))


def local(made: kit.Made, *others: kit.Made) -> LocalCertificate:
    return LocalCertificate(made.key, (made.der, *(other.der for other in others)))


def judge(purpose: str, root: kit.Made, **options: Any) -> ChainVerifier:
    return ChainVerifier([root.cert], options.pop("crls", ()), clock=now, purpose=purpose, note=lambda _: None, **options)


def server_tls(made: kit.Made | None = None, root: kit.Made | None = None, **options: Any) -> OpenSslFactory:
    root = root or authority()
    crls = options.get("crls", ())
    policy = options.get("crl_policy", "soft")
    return OpenSslFactory(
        server=True,
        certificate=local(made or server_certificate()),
        roots=[root.cert],
        verifier=judge("client", root, crls=crls, crl_policy=policy),
        **options,
    )


def client_tls(made: kit.Made | None = None, root: kit.Made | None = None, **options: Any) -> OpenSslFactory:
    root = root or authority("Servers' CA")
    return OpenSslFactory(
        server=False,
        certificate=local(made) if made is not None else None,
        roots=[root.cert],
        verifier=judge("gateway", root),
        **{"names": (SERVER_NAME,), **options},
    )


@dataclass
class EapStore(Store):
    """Knows EAP's methods too, and changes passwords."""

    certificates: dict[bytes, str] = field(default_factory=dict)
    offer: tuple[AuthMethod, ...] = ()
    expired: set[bytes] = field(default_factory=set)

    def check(self, request: AuthRequest) -> Any:
        if request.method is AuthMethod.EAP:
            self.asked.append(request)
            return AuthOffer(self.offer)
        if request.method is AuthMethod.EAP_TLS:
            self.asked.append(request)
            leaf = x509.load_der_x509_certificate(request.response)
            (name,) = leaf.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
            if str(name.value).encode() not in self.users:
                return AuthReject(Slug.USER_UNKNOWN)
            return self.reject or dataclasses.replace(self.grant, username=str(name.value))
        name_only = request.username.rpartition(b"\\")[2]
        if request.change:
            old = nt_password_hash(self.users[name_only])
            new = find_new_password(old, request.change)
            if new is None:
                return AuthReject(Slug.AUTH_FAILED)
            if len(new) < 4:
                return AuthReject(Slug.PASSWORD_CHANGE, "too short")
            self.users[name_only] = new
            self.expired.discard(name_only)
        same_proof = {AuthMethod.EAP_MD5: AuthMethod.CHAP_MD5, AuthMethod.PEAP: AuthMethod.MSCHAP_V2}
        method = same_proof.get(request.method, request.method)
        method = AuthMethod.MSCHAP_V2 if method is AuthMethod.EAP_MSCHAP_V2 else method
        verdict = super().check(dataclasses.replace(request, method=method))
        self.asked[-1] = request
        if isinstance(verdict, AuthAccept) and name_only in self.expired:
            return AuthReject(Slug.PASSWORD_EXPIRED, "expired")
        return verdict


def eap_server(
    *methods: AuthMethod, tls: OpenSslFactory | None = None, eap: dict[str, Any] | None = None, **changes: Any
) -> LinkConfig:
    tls = tls if tls is not None or set(methods).isdisjoint(EAP_METHODS[:2]) else server_tls()
    return server_config(auth_methods=methods, eap=EapConfig(tls=tls, **(eap or {})), **changes)


def eap_client(
    *methods: AuthMethod, tls: OpenSslFactory | None = None, eap: dict[str, Any] | None = None, **changes: Any
) -> LinkConfig:
    if tls is None and not set(methods).isdisjoint(EAP_METHODS[:2]):
        tls = client_tls(user_certificate())
    password = changes.pop("password", "wonderland")
    credentials = ClientCredentials(changes.pop("user", "alice"), password, changes.pop("new_password", None))
    return client_config(auth_methods=methods, credentials=credentials, eap=EapConfig(tls=tls, **(eap or {})), **changes)


def pair(server: LinkConfig, client: LinkConfig, store: EapStore | None = None, **options: Any) -> Pair:
    return Pair(server, client, store or EapStore(), **options)
