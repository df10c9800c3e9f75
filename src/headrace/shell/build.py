"""From a configuration to the cores' own: the one place where files become credentials and names become proposals."""

from __future__ import annotations

import hashlib
import socket
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

from headrace import __version__
from headrace.dataplane.native import deflate_available
from headrace.esp import proposal as esp_proposal
from headrace.ike import proposal as ike_proposal
from headrace.ike.config import IkeConfig
from headrace.ipx.router import RouterConfig
from headrace.l2tp.config import L2tpConfig
from headrace.model import Compression
from headrace.pki.tls import OpenSslFactory
from headrace.ppp.config import AuthMethod, BridgeConfig, ClientCredentials, EapConfig, IpxConfig, LinkConfig, MultilinkConfig
from headrace.shell.credentials import load_certificate, load_crls, load_roots, load_verifier
from headrace.stack.ethernet import EthernetConfig

if TYPE_CHECKING:
    from headrace.shell.config import DialConfig, GatewayConfig


_PATIENCE: Final = 45.0
"""Sum of the waits of one IKE message, in units of the first: 1 + 1.8 + 1.8^2 + ... So IKE, which knows why, gives up before the call."""


GATEWAY_INTERFACE_ID: Final = bytes(7) + b"\1"
"""The gateway is fe80::1 on every session's link: what a person guesses first."""


def duid() -> bytes:
    """Who this machine is in DHCPv6: a DUID-UUID (RFC 6355) made of its machine id, or of its name where there is none."""
    try:
        seed = Path("/etc/machine-id").read_bytes().strip()
    except OSError:
        seed = b""
    return b"\0\4" + hashlib.sha256(b"headrace dhcpv6 " + (seed or socket.gethostname().encode())).digest()[:16]


VJ_SLOTS: Final = 16
"""TCP connections whose headers are compressed at a time: as many as pppd and Windows have."""


def compression_here(wanted: tuple[Compression, ...]) -> tuple[Compression, ...]:
    """What of it this machine can do: Deflate needs zlib."""
    return tuple(method for method in wanted if method is not Compression.DEFLATE or deflate_available())


DISCRIMINATOR_CLASS: Final = b"\1"
"""Endpoint discriminator of class 1: an address that its owner chose (RFC 1990 section 5.1.3)."""


def wall_clock() -> datetime:
    """Wall-clock time with its zone, for certificates."""
    return datetime.now(UTC)


def gateway_ike(config: GatewayConfig) -> IkeConfig:
    """The responder's configuration. Raises ``ConfigError`` when a file does not hold what it should."""
    ike, esp, limits = config.ike, config.esp, config.limits
    certificate = None
    verifier = None
    if ike.certificate is not None and ike.private_key is not None:
        certificate = load_certificate(ike.certificate, ike.private_key, ike.private_key_passphrase)
        verifier = load_verifier(ike.ca, ike.crl, ike.crl_policy, purpose="client", clock=wall_clock)
    return IkeConfig(
        proposals=ike_proposal.parse_list(ike.proposals) or ike_proposal.TIERS[config.gateway.policy],
        esp_proposals=esp_proposal.parse_list(esp.proposals) or esp_proposal.TIERS[config.gateway.policy],
        psk_for=ike.psk_for,
        certificate=certificate,
        verifier=verifier,
        pfs=esp.pfs,
        force_encapsulation=ike.force_encapsulation,
        fragmentation=ike.fragmentation,
        fragment_size=ike.fragment_size,
        dpd_delay=ike.dpd_delay,
        dpd_timeout=ike.dpd_timeout,
        rekey_time=ike.rekey_time,
        esp_rekey_time=esp.rekey_time,
        esp_rekey_bytes=esp.rekey_bytes,
        keepalive=ike.keepalive,
        max_half_open=limits.max_half_open,
        max_half_open_per_address=limits.max_half_open_per_address,
        max_peers=limits.max_peers,
        keylog=config.log.keylog_dir is not None,
    )


def gateway_l2tp(config: GatewayConfig) -> L2tpConfig:
    """The LNS's configuration."""
    l2tp = config.l2tp
    return L2tpConfig(
        host_name=config.gateway.name,
        secret=l2tp.secret,
        hide_avps=l2tp.hide_avps,
        receive_window=l2tp.receive_window,
        hello_interval=l2tp.hello_interval,
        retransmit_tries=l2tp.retransmit_tries,
        max_tunnels=l2tp.max_tunnels,
        max_sessions=l2tp.max_sessions,
        setup_timeout=l2tp.setup_timeout,
        sequencing=l2tp.sequencing,
    )


_ON_TLS: Final = frozenset({AuthMethod.EAP_TLS, AuthMethod.PEAP})


def gateway_eap(config: GatewayConfig) -> EapConfig:
    """What the server's EAP methods stand on. Raises ``ConfigError`` when a file does not hold what it should."""
    eap = config.eap
    if _ON_TLS.isdisjoint(config.ppp.auth):
        return EapConfig(require_binding=eap.require_binding)
    own = eap if eap.certificate is not None else config.ike
    assert own.certificate is not None
    assert own.private_key is not None
    verifier = load_verifier(eap.ca, eap.crl, eap.crl_policy, purpose="client", clock=wall_clock) if eap.ca else None
    factory = OpenSslFactory(
        server=True,
        certificate=load_certificate(own.certificate, own.private_key, own.private_key_passphrase),
        roots=load_roots(eap.ca),
        verifier=verifier,
        crls=load_crls(eap.crl),
        crl_policy=eap.crl_policy,
        minimum=eap.tls_min,
        maximum=eap.tls_max,
    )
    return EapConfig(tls=factory, require_binding=eap.require_binding)


def client_eap(config: DialConfig) -> EapConfig:
    """What the client's EAP methods stand on. Raises ``ConfigError`` when a file does not hold what it should."""
    if _ON_TLS.isdisjoint(config.auth):
        return EapConfig(identity=config.eap_identity, require_binding=config.eap_require_binding)
    own = None
    if config.eap_certificate is not None and config.eap_private_key is not None:
        own = load_certificate(config.eap_certificate, config.eap_private_key, config.eap_private_key_passphrase)
    ca, crl = config.eap_ca or config.ca, config.eap_crl or config.crl
    factory = OpenSslFactory(
        server=False,
        certificate=own,
        roots=load_roots(ca),
        verifier=load_verifier(ca, crl, config.crl_policy, purpose="gateway", clock=wall_clock),
        crls=load_crls(crl),
        crl_policy=config.crl_policy,
        names=config.eap_server_names or config.remote_names or (config.server,),
    )
    return EapConfig(tls=factory, identity=config.eap_identity, require_binding=config.eap_require_binding)


def gateway_link(config: GatewayConfig) -> LinkConfig:
    """The PPP server's configuration."""
    ppp = config.ppp
    return LinkConfig(
        server=True,
        auth_methods=ppp.auth,
        eap=gateway_eap(config),
        mschap_mppe=ppp.mschap_mppe,
        encryption=ppp.encryption,
        mppe_bits=ppp.mppe_bits,
        mppe_stateless=ppp.mppe_stateless,
        mppe_allow_stateful=ppp.mppe_stateful,
        prefer_mppe=ppp.prefer_mppe,
        compression=compression_here(ppp.compression),
        vj_slots=VJ_SLOTS if ppp.header_compression else 0,
        name=config.gateway.name,
        mru=ppp.mru,
        max_send_mru=min(ppp.mru, config.network.mtu),
        echo_interval=ppp.lcp_echo_interval,
        echo_failure=ppp.lcp_echo_failure,
        auth_timeout=ppp.auth_timeout,
        network_timeout=ppp.network_timeout,
        local_address=config.network.address,
        ipv6=bool(config.network.ipv6_prefixes),
        interface_id=GATEWAY_INTERFACE_ID,
        ipx=IpxConfig(config.ipx.network, config.ipx.node, name=config.ipx.name) if config.ipx.network else None,
        bridge=BridgeConfig() if config.bridge.enabled else None,
        multilink=MultilinkConfig(DISCRIMINATOR_CLASS + duid()[2:]) if ppp.multilink else None,
    )


def gateway_ethernet(config: GatewayConfig) -> EthernetConfig:
    """What the gateway has beside IP."""
    ipx = config.ipx
    return EthernetConfig(
        ipx=RouterConfig(ipx.network, ipx.node, ipx.ethernet_network) if ipx.network else None,
        ipx_frames=ipx.frame,
        bridge=config.bridge.enabled,
        bridge_mtu=config.bridge.mtu,
    )


def client_ethernet(config: DialConfig) -> EthernetConfig:
    """What the client has beside IP."""
    return EthernetConfig(ipx_host=bool(config.ipx_tap), ipx_frames=config.ipx_frame, bridge=bool(config.bridge_tap))


def client_ike(config: DialConfig) -> IkeConfig:
    """The initiator's configuration. Raises ``ConfigError`` when a file does not hold what it should."""
    certificate = None
    verifier = None
    if config.certificate is not None and config.private_key is not None:
        certificate = load_certificate(config.certificate, config.private_key, config.private_key_passphrase)
        verifier = load_verifier(config.ca, config.crl, config.crl_policy, purpose="gateway", clock=wall_clock)
    return IkeConfig(
        proposals=ike_proposal.parse_list(config.proposals) or ike_proposal.TIERS[config.policy],
        esp_proposals=esp_proposal.parse_list(config.esp_proposals) or esp_proposal.TIERS[config.policy],
        psk_for=lambda _remote: config.psk,
        certificate=certificate,
        verifier=verifier,
        remote_names=config.remote_names or (config.server,),
        pfs=config.pfs,
        force_encapsulation=config.force_encapsulation,
        fragmentation=config.fragmentation,
        dpd_delay=config.dpd_delay,
        dpd_timeout=config.dpd_timeout,
        retransmit_base=min(1.0, config.timeout / _PATIENCE),
        keylog=config.keylog_dir is not None,
    )


def client_l2tp(config: DialConfig) -> L2tpConfig:
    """The LAC's configuration."""
    return L2tpConfig(secret=config.l2tp_secret, accept_incoming=False, max_tunnels=1, max_sessions=1)


def client_link(config: DialConfig) -> LinkConfig:
    """The PPP client's configuration."""
    return LinkConfig(
        server=False,
        auth_methods=config.auth,
        eap=client_eap(config),
        mschap_mppe=config.mschap_mppe,
        encryption=config.encryption,
        mppe_bits=config.mppe_bits,
        mppe_stateless=config.mppe_stateless,
        compression=compression_here(config.compression),
        vj_slots=VJ_SLOTS if config.header_compression else 0,
        credentials=ClientCredentials(config.user, config.password, config.new_password),
        mru=config.mtu,
        max_send_mru=config.mtu,
        want_dns=config.dns,
        identification=f"headrace {__version__}",
        ipv6=config.inner_ipv6,
        ipx=IpxConfig(node=config.ipx_node) if config.ipx_tap else None,
        bridge=BridgeConfig() if config.bridge_tap else None,
    )
