"""What a gateway and a client are told: the configuration as frozen values.

Every value here has been checked; what a core needs in its own shape comes from ``ike_config``, ``l2tp_config`` and ``link_config``.
Times are seconds unless a name says otherwise. Secrets hide themselves in ``repr``.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeAlias

from headrace.access.certificate import NameKind
from headrace.ipx.ethernet import FrameType
from headrace.model import Compression, Encryption, FilterRule, IPAddress
from headrace.ppp.config import AuthMethod

if TYPE_CHECKING:
    from collections.abc import Mapping

    from headrace.access.pools import PoolSpec
    from headrace.model import Endpoint
    from headrace.radius.packet import Attribute

IPNetwork: TypeAlias = IPv4Network | IPv6Network

ANY_ADDRESS: Final = IPv4Address(0)
DEFAULT_STATE_DIR: Final = Path("/var/lib/headrace")
DEFAULT_CONTROL_SOCKET: Final = Path("/run/headrace/control.sock")
DEFAULT_ADDRESS: Final = IPv4Address("10.99.0.1")


class Policy(StrEnum):
    """The tier of algorithms that is offered and accepted."""

    MODERN = "modern"
    COMPATIBLE = "compatible"
    LEGACY = "legacy"


class IkeAuth(StrEnum):
    """How a machine proves itself in phase 1."""

    CERT = "cert"
    PSK = "psk"


class CrlPolicy(StrEnum):
    """What a missing or expired revocation list means."""

    OFF = "off"
    """Revocation is not looked at."""
    SOFT = "soft"
    """Revoked is refused; no usable list is said in the log."""
    STRICT = "strict"
    """No usable list is a refusal."""


class LogLevel(StrEnum):
    """How much is logged."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class GatewaySection:
    """``[gateway]``: the process and its outer side."""

    name: str = "headrace"
    """L2TP host name and CHAP name."""
    listen: tuple[IPAddress, ...] = (ANY_ADDRESS,)
    """Outer addresses. A wildcard stands for every address of its family that the host has."""
    ike_port: int = 500
    natt_port: int = 4500
    l2tp_port: int = 1701
    """UDP port of L2TP where ``allow_clear_l2tp`` opens it; inside ESP it is always 1701."""
    policy: Policy = Policy.COMPATIBLE
    state_dir: Path = DEFAULT_STATE_DIR
    control_socket: Path = DEFAULT_CONTROL_SOCKET
    control_group: str = ""
    """Group whose members may use the control socket beside root and the gateway's own user; empty is none."""
    workers: int = 1
    """Data plane threads; 0 is one for each processor. With several, packets of one session may overtake one another, which MPPE does not
    forgive: more than one is for gateways where ESP alone encrypts."""
    insecure_lab_mode: bool = False
    """Lets through what no operator wants: no encryption at all, trivial pre-shared keys."""
    allow_clear_l2tp: bool = False
    """Take L2TP without IPsec on UDP ``l2tp_port``."""


@dataclass(frozen=True, slots=True)
class LogSection:
    """``[log]``."""

    level: LogLevel = LogLevel.INFO
    json: bool = False
    rate: int = 10
    """Lines a second for the same reason."""
    keylog_dir: Path | None = None
    """Session keys are written there in Wireshark's formats. For debugging only."""


@dataclass(frozen=True, slots=True)
class PskEntry:
    """``[[ike.psk]]``: a pre-shared key for some remote networks."""

    remote: tuple[IPNetwork, ...]
    key: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class IkeSection:
    """``[ike]``: phase 1."""

    auth: tuple[IkeAuth, ...] = ()
    """Allowed methods; only those for which there is material."""
    proposals: tuple[str, ...] = ()
    """swanctl syntax, ``aes256-sha1-modp2048``; empty is the policy's list."""
    rekey_time: float = 4 * 3600.0
    dpd_delay: float = 30.0
    dpd_timeout: float = 120.0
    keepalive: float = 20.0
    fragmentation: bool = True
    fragment_size: int = 1200
    force_encapsulation: bool = False
    psk: bytes | None = field(default=None, repr=False)
    """The default pre-shared key."""
    psks: tuple[PskEntry, ...] = ()
    certificate: Path | None = None
    private_key: Path | None = None
    private_key_passphrase: bytes | None = field(default=None, repr=False)
    ca: tuple[Path, ...] = ()
    crl: tuple[Path, ...] = ()
    crl_policy: CrlPolicy = CrlPolicy.SOFT

    def psk_for(self, remote: Endpoint) -> bytes | None:
        """Return the pre-shared key for a remote endpoint: the entry with the longest prefix, else the default, ``None`` if PSK is off."""
        if IkeAuth.PSK not in self.auth:
            return None
        best, key = -1, self.psk
        for entry in self.psks:
            for network in entry.remote:
                if network.prefixlen > best and remote.address.version == network.version and remote.address in network:
                    best, key = network.prefixlen, entry.key
        return key


@dataclass(frozen=True, slots=True)
class EspSection:
    """``[esp]``: phase 2."""

    proposals: tuple[str, ...] = ()
    """swanctl syntax, ``aes256-sha1`` or ``aes256-sha1-modp2048`` for PFS; empty is the policy's list."""
    rekey_time: float = 3600.0
    rekey_bytes: int = 0
    """Octets; 0 is no volume limit."""
    replay_window: int = 1024
    """Packets; 32 to 4096, a multiple of 32."""
    pfs: bool = False


@dataclass(frozen=True, slots=True)
class L2tpSection:
    """``[l2tp]``."""

    secret: bytes | None = field(default=None, repr=False)
    hide_avps: bool = False
    hello_interval: float = 60.0
    receive_window: int = 16
    retransmit_tries: int = 5
    setup_timeout: float = 30.0
    max_tunnels: int = 8
    """By peer."""
    max_sessions: int = 32
    """By tunnel."""
    sequencing: bool = False


@dataclass(frozen=True, slots=True)
class PppSection:
    """``[ppp]``."""

    auth: tuple[AuthMethod, ...] = (AuthMethod.MSCHAP_V2,)
    encryption: Encryption = Encryption.OPTIONAL
    mppe_bits: tuple[int, ...] = (128,)
    mppe_stateful: bool = True
    """Take stateful MPPE from a peer that insists on it."""
    mppe_stateless: bool = True
    """Ask for stateless MPPE."""
    mschap_mppe: bool = False
    """Let MS-CHAP version 1 give keys."""
    prefer_mppe: bool = False
    """With ``optional``: offer MPPE ourselves, although ESP already encrypts."""
    compression: tuple[Compression, ...] = ()
    """Off by default: what is compressed before it is encrypted tells of its content by its size."""
    header_compression: bool = False
    """Off by default: ESP and UDP may reorder packets, and save nothing for the small header."""
    mru: int = 1400
    lcp_echo_interval: float = 30.0
    lcp_echo_failure: int = 4
    auth_timeout: float = 30.0
    network_timeout: float = 30.0
    multilink: bool = False
    """Take several sessions of one user and machine for one link."""
    idle_timeout: float = 0.0
    """Seconds without an inner packet; 0 is off."""
    session_timeout: float = 0.0
    """Seconds a session may last; 0 is off."""


@dataclass(frozen=True, slots=True)
class EapSection:
    """``[eap]``: what EAP-TLS and PEAP stand on."""

    certificate: Path | None = None
    """What users see; ``None``: the certificate of ``[ike]``."""
    private_key: Path | None = None
    private_key_passphrase: bytes | None = field(default=None, repr=False)
    ca: tuple[Path, ...] = ()
    """Whose users may come in by certificate."""
    crl: tuple[Path, ...] = ()
    crl_policy: CrlPolicy = CrlPolicy.SOFT
    identity: tuple[NameKind, ...] = tuple(NameKind)
    realms: tuple[str, ...] = ()
    tls_min: str = "1.2"
    tls_max: str = "1.3"
    require_binding: bool = False


@dataclass(frozen=True, slots=True)
class NetworkSection:
    """``[network]``: the inner side."""

    address: IPv4Address = DEFAULT_ADDRESS
    """The gateway's own inner address, in every PPP link. Never an outer address."""
    pools: tuple[PoolSpec, ...] = ()
    """The first is the one for accounts and groups that name none."""
    dns: tuple[IPv4Address, ...] = ()
    """At most two."""
    wins: tuple[IPv4Address, ...] = ()
    """At most two."""
    ipv6_prefixes: tuple[IPv6Network, ...] = ()
    """Each session has a block of them, the first is the gateway's own; empty: no IPv6."""
    ipv6_delegate: int = 0
    """Length of the prefix that a client may have delegated by DHCPv6; 0 is none."""
    ipv6_dns: tuple[IPv6Address, ...] = ()
    """At most two."""
    tun_name: str = "headrace0"
    mtu: int = 1400
    mss_clamp: bool = True
    forwarding: bool = False
    """Switch forwarding on at start, of IPv6 too where there is any."""
    direct: bool = False
    """Packets from one client for another do not go by way of the host."""
    tos: str = "copy"
    """``copy``, ``ecn`` or ``none``: what the outer header shows of an inner packet's traffic class."""


@dataclass(frozen=True, slots=True)
class IpxSection:
    """``[ipx]``: for old machines."""

    network: int = 0
    """Network number of all sessions; 0: no IPX."""
    ethernet_network: int = 0
    """Network number of the Ethernet behind ``tap_name``; 0: there is none."""
    frame: FrameType = FrameType.ETHERNET_II
    tap_name: str = "headrace-ipx"
    node: bytes = bytes.fromhex("024852000001")
    """The router's on every network, and its MAC address on the Ethernet."""
    name: str = "HEADRACE"


@dataclass(frozen=True, slots=True)
class BridgeSection:
    """``[bridge]``: Ethernet through PPP."""

    enabled: bool = False
    tap_name: str = "headrace-br"
    mtu: int = 1376


@dataclass(frozen=True, slots=True)
class LimitsSection:
    """``[limits]``: bounds on what strangers and users can make the gateway hold."""

    max_sessions: int = 10000
    max_peers: int = 16384
    max_half_open: int = 4096
    max_half_open_per_address: int = 64


@dataclass(frozen=True, slots=True)
class AccountsSection:
    """``[accounts]``: the store of local accounts, and what wrong passwords lead to."""

    database: Path | str = DEFAULT_STATE_DIR / "accounts.db"
    """A file, or a URL of PostgreSQL."""
    key_file: Path = DEFAULT_STATE_DIR / "accounts.key"
    max_failures: int = 10
    """Wrong passwords for one name from one address within ``failure_window`` before that pair is locked out; 0 is never."""
    max_failures_total: int = 100
    """The same for one name from all addresses together."""
    failure_window: float = 300.0
    lockout_time: float = 300.0


@dataclass(frozen=True, slots=True)
class MetricsSection:
    """``[metrics]``: for Prometheus."""

    listen: Endpoint | None = None
    """Where they are served by HTTP; ``None`` is nowhere."""


@dataclass(frozen=True, slots=True)
class RadiusServer:
    """``[[radius.server]]``."""

    address: IPAddress
    secret: bytes = field(repr=False)
    port: int = 1812
    accounting_port: int = 1813
    auth: bool = True
    accounting: bool = True


@dataclass(frozen=True, slots=True)
class RadiusSection:
    """``[radius]``: servers that know the users, and are told of their sessions."""

    servers: tuple[RadiusServer, ...] = ()
    """Asked in this order."""
    users: str = "unknown"
    """``all``, or ``unknown``: those who have no local account."""
    nas_identifier: str = ""
    """Empty: the gateway's name."""
    nas_address: IPAddress | None = None
    """``None``: the outer address that the client reached."""
    timeout: float = 2.0
    tries: int = 2
    dead_time: float = 60.0
    status_server: bool = True
    status_interval: float = 10.0
    require_message_authenticator: bool = True
    interim_interval: float = 600.0
    """Seconds; 0 is none."""
    spool: Path = DEFAULT_STATE_DIR / "accounting.spool"
    spool_max: int = 100000
    dynauth_port: int = 0
    """0: CoA and Disconnect are not taken."""
    dynauth_listen: tuple[IPAddress, ...] = (ANY_ADDRESS,)
    dictionaries: tuple[Path, ...] = ()
    attributes: tuple[Attribute, ...] = ()
    """Sent with every request."""
    filters: Mapping[str, tuple[FilterRule, ...]] = field(default_factory=dict)
    """What Filter-Id may name."""


@dataclass(frozen=True, slots=True)
class GatewayConfig:
    """A whole gateway."""

    gateway: GatewaySection = field(default_factory=GatewaySection)
    log: LogSection = field(default_factory=LogSection)
    ike: IkeSection = field(default_factory=IkeSection)
    esp: EspSection = field(default_factory=EspSection)
    l2tp: L2tpSection = field(default_factory=L2tpSection)
    ppp: PppSection = field(default_factory=PppSection)
    eap: EapSection = field(default_factory=EapSection)
    network: NetworkSection = field(default_factory=NetworkSection)
    ipx: IpxSection = field(default_factory=IpxSection)
    bridge: BridgeSection = field(default_factory=BridgeSection)
    limits: LimitsSection = field(default_factory=LimitsSection)
    accounts: AccountsSection = field(default_factory=AccountsSection)
    metrics: MetricsSection = field(default_factory=MetricsSection)
    radius: RadiusSection = field(default_factory=RadiusSection)
    path: Path | None = None
    """The file it came from."""
    warnings: tuple[str, ...] = ()
    """One line each, to be logged at every start and shown in ``status``."""

    @property
    def clear_text(self) -> bool:
        """Whether users' traffic may cross without any encryption; then the log says so every minute."""
        required = self.ppp.encryption in {Encryption.REQUIRED, Encryption.REQUIRED_128}
        return self.gateway.allow_clear_l2tp and not required


def load_config(path: Path) -> GatewayConfig:
    """Read a configuration file. Raises ``ConfigError``, whose text has one line for every mistake."""
    from headrace.shell.load import load

    return load(path)


@dataclass(frozen=True, slots=True)
class DialConfig:
    """One call of the client."""

    server: str
    """Name or address as the user typed it; a certificate must name it."""
    user: str
    """May be ``DOMAIN\\user``."""
    password: str = field(repr=False)
    new_password: str | None = field(default=None, repr=False)
    """For a gateway that says that the password has expired."""
    psk: bytes | None = field(default=None, repr=False)
    certificate: Path | None = None
    private_key: Path | None = None
    private_key_passphrase: bytes | None = field(default=None, repr=False)
    ca: tuple[Path, ...] = ()
    crl: tuple[Path, ...] = ()
    crl_policy: CrlPolicy = CrlPolicy.SOFT
    remote_names: tuple[str, ...] = ()
    """Names of which the gateway's certificate must hold one; empty is ``server``."""
    policy: Policy = Policy.COMPATIBLE
    proposals: tuple[str, ...] = ()
    esp_proposals: tuple[str, ...] = ()
    pfs: bool = False
    auth: tuple[AuthMethod, ...] = (AuthMethod.MSCHAP_V2,)
    encryption: Encryption = Encryption.OPTIONAL
    mppe_bits: tuple[int, ...] = (128,)
    mppe_stateless: bool = True
    """Ask for stateless MPPE."""
    compression: tuple[Compression, ...] = ()
    header_compression: bool = False
    mschap_mppe: bool = False
    eap_certificate: Path | None = None
    """The user's own, for EAP-TLS."""
    eap_private_key: Path | None = None
    eap_private_key_passphrase: bytes | None = field(default=None, repr=False)
    eap_ca: tuple[Path, ...] = ()
    """Authorities of the certificate that the gateway shows in EAP; empty is ``ca``."""
    eap_crl: tuple[Path, ...] = ()
    eap_server_names: tuple[str, ...] = ()
    """Names of which that certificate must hold one; empty is ``remote_names``, then ``server``."""
    eap_identity: str = ""
    """Told before the method, in clear inside of ESP; empty is ``user``."""
    eap_require_binding: bool = False
    l2tp_secret: bytes | None = field(default=None, repr=False)
    ike_port: int = 500
    """The gateway's."""
    natt_port: int = 4500
    l2tp_port: int = 1701
    source: IPAddress | None = None
    """Our outer address; ``None`` lets the routing table choose."""
    local_ike_port: int = 0
    """0 is any free port."""
    local_natt_port: int = 0
    family: int = 0
    """4 or 6 to insist on one; 0 takes what the name gives, IPv4 first."""
    force_encapsulation: bool = False
    fragmentation: bool = True
    tun_name: str = "headrace%d"
    mtu: int = 1400
    default_route: bool = False
    routes: tuple[IPNetwork, ...] = ()
    ipx_tap: str = ""
    """Name of a TAP for one machine that speaks IPX; empty: no IPX."""
    ipx_node: bytes = bytes(6)
    """Its MAC address; zeros take the gateway's choice."""
    ipx_frame: FrameType = FrameType.ETHERNET_II
    bridge_tap: str = ""
    """Name of a TAP that is bridged with the gateway's; empty: no bridge."""
    inner_ipv6: bool = True
    """Take IPv6 inside the tunnel where the gateway has it."""
    dns: bool = False
    """Use the gateway's DNS servers while connected."""
    dpd_delay: float = 30.0
    dpd_timeout: float = 120.0
    timeout: float = 35.0
    """Seconds for the whole ladder."""
    reconnect: bool = False
    ping: IPv4Address | None = None
    """When up, ping this inner address through the tunnel, then disconnect; exit 0 only if it answered."""
    ping_count: int = 3
    keylog_dir: Path | None = None
    json: bool = False
    verbose: bool = False
