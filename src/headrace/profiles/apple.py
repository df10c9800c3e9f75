"""A configuration profile for macOS, iOS and iPadOS."""

from __future__ import annotations

import plistlib
import uuid
from typing import TYPE_CHECKING, Any, Final

from cryptography import x509

if TYPE_CHECKING:
    from headrace.profiles.facts import Facts

_NAMESPACE: Final = uuid.UUID("c8f7a3c2-6d0e-5c46-9d6b-0f2f5f0c1701")
"""Identifiers are made of what a profile is about, so that a newer one replaces an older one instead of standing beside it."""


def mobileconfig(facts: Facts) -> bytes:
    """The profile, an XML property list. The user's password is not in it: the device asks for it."""
    identity = f"{facts.server}/{facts.user}/{facts.name}"
    vpn: dict[str, Any] = {
        **_payload("com.apple.vpn.managed", identity, "vpn", facts.name),
        "UserDefinedName": facts.name,
        "VPNType": "L2TP",
        "PPP": {"AuthName": facts.user, "CommRemoteAddress": facts.server, "TokenCard": False},
        # Routes are no part of a profile for L2TP: without this, the device routes only the network class of its own inner address.
        "IPv4": {"OverridePrimary": int(not facts.routes)},
    }
    content = [vpn]
    if facts.machine is None:
        vpn["IPSec"] = {"AuthenticationMethod": "SharedSecret", "SharedSecret": (facts.psk or "").encode()}
    else:
        bundle = {
            **_payload("com.apple.security.pkcs12", identity, "identity", f"Certificate of this device for {facts.name}"),
            "PayloadContent": facts.machine.bundle,
        }
        roots = [
            {
                **_payload("com.apple.security.root", identity, f"root{i}", _common_name(der)),
                "PayloadContent": der,
            }
            for i, der in enumerate(facts.machine.authorities)
        ]
        vpn["IPSec"] = {"AuthenticationMethod": "Certificate", "PayloadCertificateUUID": bundle["PayloadUUID"]}
        content += [bundle, *roots]
    profile = {
        **_payload("Configuration", identity, "profile", facts.name),
        "PayloadDescription": f"L2TP/IPsec connection to {facts.server} for {facts.user}",
        "PayloadContent": content,
    }
    return plistlib.dumps(profile)


def _payload(kind: str, identity: str, part: str, shown: str) -> dict[str, Any]:
    unique = uuid.uuid5(_NAMESPACE, f"{identity}/{part}")
    return {
        "PayloadType": kind,
        "PayloadVersion": 1,
        "PayloadIdentifier": f"headrace.{unique}",
        "PayloadUUID": str(unique).upper(),
        "PayloadDisplayName": shown,
    }


def _common_name(der: bytes) -> str:
    return x509.load_der_x509_certificate(der).subject.rfc4514_string()
