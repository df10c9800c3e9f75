"""Every EAP method there is here, both roles: a new one is a file with two classes and two rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from headrace.ppp.config import EAP_METHODS, AuthMethod, LinkConfig
from headrace.ppp.eap_md5 import Md5Peer, Md5Server
from headrace.ppp.eap_mschap import MsChapPeer, MsChapServer
from headrace.ppp.eap_peer import EapPeer, PeerMethod
from headrace.ppp.eap_server import EapServer, ServerContext, ServerMethod
from headrace.ppp.eap_tls import TlsPeer, TlsServer
from headrace.ppp.network import is_required
from headrace.ppp.peap import PeapPeer, PeapServer

SERVERS: Final[Mapping[AuthMethod, Callable[[EapServer, ServerContext], ServerMethod]]] = {
    AuthMethod.EAP_MD5: Md5Server,
    AuthMethod.EAP_MSCHAP_V2: MsChapServer,
    AuthMethod.EAP_TLS: TlsServer,
    AuthMethod.PEAP: PeapServer,
}

PEERS: Final[Mapping[AuthMethod, Callable[[EapPeer], PeerMethod]]] = {
    AuthMethod.EAP_MD5: Md5Peer,
    AuthMethod.EAP_MSCHAP_V2: MsChapPeer,
    AuthMethod.EAP_TLS: TlsPeer,
    AuthMethod.PEAP: PeapPeer,
}

_ON_TLS: Final = frozenset({AuthMethod.EAP_TLS, AuthMethod.PEAP})


def possible(config: LinkConfig) -> tuple[AuthMethod, ...]:
    """The EAP methods that a link has, most wanted first: allowed, with all that they need, and with keys where MPPE must have some."""
    return tuple(method for method in config.auth_methods if method in EAP_METHODS and _can(config, method))


def _can(config: LinkConfig, method: AuthMethod) -> bool:
    if not config.server and is_required(config.encryption) and not config.gives_keys(method):
        return False  # the link could not go on after it
    tls = config.eap.tls
    if method not in _ON_TLS:
        return True
    return tls is not None and (method is AuthMethod.PEAP or tls.has_certificate)
