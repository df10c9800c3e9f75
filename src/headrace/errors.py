"""The one table of failures: slug, RAS number, name, rung, meaning, remedy. Logs, faces and documents all read it.

The table itself is data, ``errors.toml`` beside this file. RAS numbers are many-to-one, so every refusal has a slug: the slug is
the stable identity, the number is what a Windows client's screen shows.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from importlib.resources import files
from typing import Any


class HeadraceError(Exception):
    """Base of every exception that this package raises on purpose."""


class LocalError(HeadraceError):
    """Our caller erred: a command in the wrong state, a value out of range."""


class PeerError(HeadraceError):
    """The peer erred: what it sent is malformed or not allowed here. Caught in one place per core, never seen outside of it."""


class ConfigError(HeadraceError):
    """A configuration cannot be used; the message names file, line, key and remedy."""


class Slug(StrEnum):
    """Why a connection was refused or ended."""

    # ike
    IKE_MALFORMED = "ike-malformed"
    IKE_NO_PROPOSAL = "ike-no-proposal"
    IKE_VERSION = "ike-version"
    IKE_AGGRESSIVE = "ike-aggressive"
    IKE_TIMEOUT = "ike-timeout"
    IKE_NO_ANSWER = "ike-no-answer"
    IKE_KEY_EXCHANGE = "ike-key-exchange"
    IKE_ID = "ike-id"
    IKE_NOTIFY = "ike-notify"
    PSK_MISMATCH = "psk-mismatch"
    PSK_NONE = "psk-none"
    CERT_NONE = "cert-none"
    CERT_MALFORMED = "cert-malformed"
    CERT_EXPIRED = "cert-expired"
    CERT_NOT_YET_VALID = "cert-not-yet-valid"
    CERT_REVOKED = "cert-revoked"
    CERT_UNKNOWN_CA = "cert-unknown-ca"
    CERT_USAGE = "cert-usage"
    CERT_NAME = "cert-name"
    CERT_WEAK = "cert-weak"
    CERT_CRL = "cert-crl"
    SIG_BAD = "sig-bad"
    OUR_CERT_REFUSED = "our-cert-refused"
    OUR_AUTH_REFUSED = "our-auth-refused"
    ESP_NO_PROPOSAL = "esp-no-proposal"
    ESP_SELECTOR = "esp-selector"
    ESP_TIMEOUT = "esp-timeout"
    HALF_OPEN_LIMIT = "half-open-limit"
    PEER_DELETED = "peer-deleted"
    DPD_LOST = "dpd-lost"
    SERVER_BEHIND_NAT = "server-behind-nat"
    # l2tp
    CLEAR_L2TP = "clear-l2tp"
    L2TP_SILENT = "l2tp-silent"
    L2TP_MALFORMED = "l2tp-malformed"
    L2TP_REFUSED = "l2tp-refused"
    TUNNEL_AUTH = "tunnel-auth"
    HIDDEN_AVP = "hidden-avp"
    HELLO_LOST = "hello-lost"
    LIMIT_SESSIONS = "limit-sessions"
    LIMIT_TUNNELS = "limit-tunnels"
    DRAINING = "draining"
    PEER_CLOSED = "peer-closed"
    # lcp
    LCP_TIMEOUT = "lcp-timeout"
    LCP_NOT_CONVERGING = "lcp-not-converging"
    LCP_LOOPBACK = "lcp-loopback"
    LCP_REJECTED = "lcp-rejected"
    LCP_TERMINATED = "lcp-terminated"
    ECHO_LOST = "echo-lost"
    # user
    AUTH_NO_COMMON = "auth-no-common"
    AUTH_TIMEOUT = "auth-timeout"
    AUTH_FAILED = "auth-failed"
    USER_UNKNOWN = "user-unknown"
    NO_NT_HASH = "no-nt-hash"
    ACCOUNT_DISABLED = "account-disabled"
    ACCOUNT_EXPIRED = "account-expired"
    HOURS = "hours"
    DIALIN_DENIED = "dialin-denied"
    PASSWORD_EXPIRED = "password-expired"  # noqa: S105 - a slug
    USER_LIMIT = "user-limit"
    AUTH_LOCKED = "auth-locked"
    SERVER_PROOF = "server-proof"
    SERVER_PROOF_MISSING = "server-proof-missing"
    AUTH_METHOD = "auth-method"
    PASSWORD_CHANGE = "password-change"  # noqa: S105 - a slug
    EAP_NO_METHOD = "eap-no-method"
    EAP_LIMIT = "eap-limit"
    EAP_PROTOCOL = "eap-protocol"
    EAP_TLS_FAILED = "eap-tls-failed"
    EAP_IDENTITY = "eap-identity"
    USER_CERT_NONE = "user-cert-none"
    USER_CERT_INVALID = "user-cert-invalid"
    USER_CERT_EXPIRED = "user-cert-expired"
    USER_CERT_REVOKED = "user-cert-revoked"
    USER_CERT_OTHER = "user-cert-other"
    USER_CERT_CA = "user-cert-ca"
    SERVER_CERT_INVALID = "server-cert-invalid"
    SERVER_CERT_EXPIRED = "server-cert-expired"
    SERVER_CERT_REVOKED = "server-cert-revoked"
    SERVER_CERT_OTHER = "server-cert-other"
    SERVER_CERT_CA = "server-cert-ca"
    SERVER_CERT_NAME = "server-cert-name"
    PEAP_BINDING = "peap-binding"
    PEAP_BINDING_MISSING = "peap-binding-missing"
    PEAP_RESULT = "peap-result"
    RADIUS_TIMEOUT = "radius-timeout"
    RADIUS_BAD = "radius-bad"
    RADIUS_POLICY = "radius-policy"
    RADIUS_SERVICE = "radius-service"
    RADIUS_FRAMING = "radius-framing"
    RADIUS_TUNNEL = "radius-tunnel"
    # encryption
    ENCRYPTION_REFUSED = "encryption-refused"
    ENCRYPTION_STRENGTH = "encryption-strength"
    ENCRYPTION_NO_KEYS = "encryption-no-keys"
    ENCRYPTION_LOCAL = "encryption-local"
    MPPE_KEYS_DIFFER = "mppe-keys-differ"
    # network
    POOL_EMPTY = "pool-empty"
    ADDRESS_CONFLICT = "address-conflict"
    IPCP_REFUSED = "ipcp-refused"
    # ends
    IDLE_TIMEOUT = "idle-timeout"
    SESSION_TIMEOUT = "session-timeout"
    QUOTA = "quota"
    ADMIN = "admin"
    COA_DISCONNECT = "coa-disconnect"
    REPLACED = "replaced"
    USER_REQUEST = "user-request"
    SHUTDOWN = "shutdown"
    INTERNAL = "internal"
    # client side only
    NAME_UNRESOLVED = "name-unresolved"
    NO_ROUTE = "no-route"
    PORT_BUSY = "port-busy"
    PATH_MTU = "path-mtu"


@dataclass(frozen=True, slots=True)
class Explanation:
    """One record of the table."""

    slug: str
    ras: int
    """Windows RAS number; 0 for a normal end."""
    name: str
    """Constant name of raserror.h or mprerror.h without its prefix."""
    rung: int
    """``Rung`` on which it happens."""
    title: str
    """Windows' wording in our own words, one line."""
    meaning: str
    causes: tuple[str, ...]
    remedy_client: str
    remedy_gateway: str
    detect: str = ""
    """How it is told apart from its neighbours: what the gateway sees, what the client sees."""


@cache
def _raw() -> dict[str, Any]:
    return tomllib.loads(files("headrace").joinpath("errors.toml").read_text("utf-8"))


@cache
def table() -> dict[str, Explanation]:
    """All records by slug. Read once from the package's ``errors.toml``."""
    return {
        slug: Explanation(slug=slug, **{**record, "causes": tuple(record.get("causes", ()))})
        for slug, record in _raw()["reason"].items()
    }


def explain(slug: str) -> Explanation:
    """Return the record of a slug. Raises ``KeyError`` for one that is not in the table."""
    return table()[slug]


@dataclass(frozen=True, slots=True)
class NumberRecord:
    """One Windows error number, whether or not headrace ever raises it."""

    ras: int
    name: str
    """Constant name; empty for a number of which only the family is known."""
    rung: int
    """``Rung`` on which a client sees it; 0 for none."""
    title: str
    hint: str = ""
    """What to look at, where no reason says more."""
    reasons: tuple[Explanation, ...] = ()
    """The reasons that show as this number."""


def number(ras: int) -> NumberRecord:
    """Return what is known of a Windows error number. Raises ``KeyError`` for one that does not exist."""
    raw = _raw()
    reasons = tuple(record for record in table().values() if ras and record.ras == ras)
    entry = raw["number"].get(str(ras))
    if entry is not None:
        return NumberRecord(ras=ras, reasons=reasons, **entry)
    for family in raw["range"]:
        if family["from"] <= ras <= family["to"]:
            return NumberRecord(ras=ras, name="", rung=0, title=family["title"], reasons=reasons)
    raise KeyError(ras)


def numbers() -> tuple[NumberRecord, ...]:
    """Every Windows number of which more is known than its family, in order."""
    return tuple(number(int(ras)) for ras in sorted(_raw()["number"], key=int))


@dataclass(frozen=True, slots=True)
class IkeStatus:
    """One of Windows' finer IKE states, which its event log and Oakley log have behind the number on the screen."""

    status: int
    name: str
    """Constant of winerror.h without ``ERROR_IPSEC_IKE_``."""
    shows: tuple[int, ...]
    """The RAS numbers as which it appears."""


@cache
def ike_statuses() -> dict[int, IkeStatus]:
    """All of them by their number."""
    return {int(n): IkeStatus(int(n), row["name"], tuple(row["shows"])) for n, row in _raw()["status"].items()}
