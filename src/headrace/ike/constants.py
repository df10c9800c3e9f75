"""Numbers of the wire, under the names of the RFCs: ISAKMP (RFC 2408), IKE (RFC 2409), the IPsec DOI (RFC 2407), RFC 3706, RFC 3947."""

from __future__ import annotations

from enum import IntEnum, IntFlag
from typing import Final

VERSION: Final = 0x10
"""Major 1, minor 0 (RFC 2408 section 3.1)."""
HEADER_OCTETS: Final = 28
COOKIE_OCTETS: Final = 8
DOI_IPSEC: Final = 1
SIT_IDENTITY_ONLY: Final = 1
NONCE_MIN: Final = 8
NONCE_MAX: Final = 256
"""Octets of a nonce (RFC 2409 section 5)."""
KEY_IKE: Final = 1
"""The only transform id of phase 1 (RFC 2407 section 4.4.2)."""
DEFAULT_LIFE: Final = 28800
"""Seconds, where an SA names none (RFC 2407 section 4.5.4)."""


class Exchange(IntEnum):
    """Exchange types (RFC 2408 section 3.1, RFC 2409 appendix A)."""

    BASE = 1
    MAIN = 2
    AUTHENTICATION_ONLY = 3
    AGGRESSIVE = 4
    INFORMATIONAL = 5
    TRANSACTION = 6
    QUICK = 32
    NEW_GROUP = 33


class Flag(IntFlag):
    """Header flags. The other five bits are ignored on receipt and never sent."""

    ENCRYPTED = 0x01
    COMMIT = 0x02
    AUTHENTICATION_ONLY = 0x04


class PayloadType(IntEnum):
    """Payload types (RFC 2408 section 3.1, RFC 3947 section 9, MS-IKEE)."""

    NONE = 0
    SA = 1
    PROPOSAL = 2
    TRANSFORM = 3
    KEY_EXCHANGE = 4
    IDENTIFICATION = 5
    CERTIFICATE = 6
    CERTIFICATE_REQUEST = 7
    HASH = 8
    SIGNATURE = 9
    NONCE = 10
    NOTIFY = 11
    DELETE = 12
    VENDOR_ID = 13
    ATTRIBUTE = 14
    NAT_D = 20
    NAT_OA = 21
    NAT_D_DRAFT = 130
    NAT_OA_DRAFT = 131
    FRAGMENT = 132


class ProtocolId(IntEnum):
    """Protocols of a proposal (RFC 2407 section 4.4.1)."""

    ISAKMP = 1
    AH = 2
    ESP = 3
    IPCOMP = 4


class Phase1Attribute(IntEnum):
    """Attribute classes of a phase-1 transform (RFC 2409 appendix A)."""

    ENCRYPTION = 1
    HASH = 2
    AUTHENTICATION = 3
    GROUP = 4
    GROUP_TYPE = 5
    GROUP_PRIME = 6
    GROUP_GENERATOR_1 = 7
    GROUP_GENERATOR_2 = 8
    GROUP_CURVE_A = 9
    GROUP_CURVE_B = 10
    LIFE_TYPE = 11
    LIFE_DURATION = 12
    PRF = 13
    KEY_LENGTH = 14
    FIELD_SIZE = 15
    GROUP_ORDER = 16


class AuthMethod(IntEnum):
    """Authentication methods (RFC 2409 appendix A, RFC 4754)."""

    PSK = 1
    RSA_SIGNATURE = 3
    ECDSA_256 = 9
    ECDSA_384 = 10
    ECDSA_521 = 11


class Phase2Attribute(IntEnum):
    """Attribute classes of a phase-2 transform (RFC 2407 section 4.5, RFC 4304)."""

    LIFE_TYPE = 1
    LIFE_DURATION = 2
    GROUP = 3
    ENCAPSULATION = 4
    AUTHENTICATION = 5
    KEY_LENGTH = 6
    KEY_ROUNDS = 7
    EXTENDED_SEQUENCE = 11


class LifeType(IntEnum):
    """Units of a life duration, in both phases."""

    SECONDS = 1
    KILOBYTES = 2


class Encapsulation(IntEnum):
    """Encapsulation modes (RFC 2407 section 4.5, RFC 3947 section 5.1 and its drafts)."""

    TUNNEL = 1
    TRANSPORT = 2
    UDP_TUNNEL = 3
    UDP_TRANSPORT = 4
    UDP_TUNNEL_DRAFT = 61443
    UDP_TRANSPORT_DRAFT = 61444


class IdType(IntEnum):
    """Identification types (RFC 2407 section 4.6.2.1)."""

    IPV4_ADDR = 1
    FQDN = 2
    USER_FQDN = 3
    IPV4_ADDR_SUBNET = 4
    IPV6_ADDR = 5
    IPV6_ADDR_SUBNET = 6
    IPV4_ADDR_RANGE = 7
    IPV6_ADDR_RANGE = 8
    DER_ASN1_DN = 9
    DER_ASN1_GN = 10
    KEY_ID = 11


class CertEncoding(IntEnum):
    """Certificate encodings that are of use (RFC 2408 section 3.9)."""

    PKCS7 = 1
    X509_SIGNATURE = 4
    X509_KEY_EXCHANGE = 5


class NotifyType(IntEnum):
    """Notify messages (RFC 2408 section 3.14.1, RFC 2407 section 4.6.3, RFC 3706)."""

    INVALID_PAYLOAD_TYPE = 1
    DOI_NOT_SUPPORTED = 2
    SITUATION_NOT_SUPPORTED = 3
    INVALID_COOKIE = 4
    INVALID_MAJOR_VERSION = 5
    INVALID_MINOR_VERSION = 6
    INVALID_EXCHANGE_TYPE = 7
    INVALID_FLAGS = 8
    INVALID_MESSAGE_ID = 9
    INVALID_PROTOCOL_ID = 10
    INVALID_SPI = 11
    INVALID_TRANSFORM_ID = 12
    ATTRIBUTES_NOT_SUPPORTED = 13
    NO_PROPOSAL_CHOSEN = 14
    BAD_PROPOSAL_SYNTAX = 15
    PAYLOAD_MALFORMED = 16
    INVALID_KEY_INFORMATION = 17
    INVALID_ID_INFORMATION = 18
    INVALID_CERT_ENCODING = 19
    INVALID_CERTIFICATE = 20
    CERT_TYPE_UNSUPPORTED = 21
    INVALID_CERT_AUTHORITY = 22
    INVALID_HASH_INFORMATION = 23
    AUTHENTICATION_FAILED = 24
    INVALID_SIGNATURE = 25
    ADDRESS_NOTIFICATION = 26
    NOTIFY_SA_LIFETIME = 27
    CERTIFICATE_UNAVAILABLE = 28
    UNSUPPORTED_EXCHANGE_TYPE = 29
    UNEQUAL_PAYLOAD_LENGTHS = 30
    CONNECTED = 16384
    RESPONDER_LIFETIME = 24576
    REPLAY_STATUS = 24577
    INITIAL_CONTACT = 24578
    R_U_THERE = 36136
    R_U_THERE_ACK = 36137


NOTIFY_STATUS_FIRST: Final = 16384
"""Notify types from here on are states, below errors."""


def notify_name(number: int) -> str:
    """A notify type in words, as logs show it: ``NO-PROPOSAL-CHOSEN``."""
    try:
        return NotifyType(number).name.replace("_", "-")
    except ValueError:
        return f"notify {number}"
