"""Broken set-ups: what is broken, and what the gateway and ``headrace troubleshoot`` must each say of it.

A row is a case. Expectations are "rung slug number", written down before anything is run; "-" is silence: nothing to be seen from there.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

PSK: Final = ("--psk-file", "psk")
USER: Final = ("--user", "alice", "--password-file", "password")
BASE: Final = (*PSK, *USER)
SILENCE: Final = "-"


@dataclass(frozen=True, slots=True)
class Case:
    """One broken set-up."""

    name: str
    broken: str
    """What is wrong, for a person."""
    gateway: str
    troubleshoot: str
    arguments: tuple[str, ...] = BASE
    """Of ``headrace troubleshoot``."""
    rules: tuple[str, ...] = ()
    """nft rules in the gateway's namespace, on what comes from this case's address, which stands for SRC."""
    nat: str = ""
    """The client's own NAT: ``source`` changes its address, ``destination`` the gateway's."""
    before: tuple[tuple[str, ...], ...] = ()
    """Calls of ``troubleshoot`` that come first, from the same address."""
    holds: str = ""
    """A user who is connected meanwhile."""
    server: str = ""
    """What is dialled, in place of the gateway's address."""
    shows: str = ""
    """A text that must be among the steps."""


@dataclass(frozen=True, slots=True)
class Group:
    """Cases that share a gateway."""

    name: str
    gateway: dict[str, dict[str, Any]] | None
    """What differs from the site's configuration; ``None``: no gateway runs."""
    cases: tuple[Case, ...]


def machine(name: str, *more: str) -> tuple[str, ...]:
    """Arguments of a client that proves itself by certificate."""
    return ("--certificate", f"{name}.crt", "--private-key", f"{name}.key", "--ca", "ca.crt", *more, *USER)


def as_user(name: str, *more: str) -> tuple[str, ...]:
    return (*PSK, "--user", name, "--password-file", "password", *more)


def offers(proposal: str) -> tuple[str, ...]:
    return (*BASE, "--proposal", proposal)


def offers_esp(proposal: str) -> tuple[str, ...]:
    return (*BASE, "--esp-proposal", proposal)


_FROM = "ip saddr SRC"

# fmt: off
GROUPS: Final = (
    Group("ordinary", {
        "ike": {"proposals": ["aes256-sha256-ecp384", "aes256-sha256-ecp256"], "crl": ["revoked.crl"], "crl_policy": "soft"},
        "esp": {"proposals": ["aes256-sha256"]},
        "accounts": {"max_failures": 2},
    }, (
        Case("all-well", "nothing: the same walk without a fault", SILENCE, SILENCE),
        # Path
        Case("name", "the server's name does not exist", SILENCE, "name name-unresolved 868", server="nowhere.invalid"),
        Case("no-route", "this machine has no route to the server", SILENCE, "path no-route 769",
             server="198.51.100.77"),
        Case("blocked-500", "UDP 500 is blocked", SILENCE, "path ike-no-answer 809", rules=(f"{_FROM} udp dport 500 drop",)),
        Case("rejected-500", "a firewall answers UDP 500 with port unreachable", SILENCE, "path ike-no-answer 809",
             rules=(f"{_FROM} udp dport 500 reject with icmp port-unreachable",)),
        Case("blocked-4500", "UDP 4500 is blocked", "ike-auth ike-timeout 792", "ike-auth ike-timeout 792",
             rules=(f"{_FROM} udp dport 4500 drop",), shows="UDP 4500 does not answer"),
        Case("blocked-esp", "ESP in UDP is blocked, IKE is not", "l2tp l2tp-silent 809", "l2tp l2tp-silent 809",
             rules=(f"{_FROM} udp dport 4500 @th,64,32 != 0 drop",)),
        Case("nat-client", "nothing breaks: the client is behind a NAT", SILENCE, SILENCE, nat="source",
             shows="we are behind a NAT, the server is not"),
        Case("nat-server", "the server is behind a NAT, which Windows does not take by itself", SILENCE, SILENCE,
             nat="destination", shows="AssumeUDPEncapsulationContextOnSendRule = 1"),
        Case("mtu", "the path carries no datagram above 1200 octets and does not say so", SILENCE, "traffic path-mtu 0",
             rules=(f"{_FROM} meta length > 1200 drop",)),
        # Phase 1
        Case("cipher", "no common cipher in phase 1", "ike-proposal ike-no-proposal 788", "ike-proposal ike-no-proposal 788",
             offers("aes128-sha256-ecp384")),
        Case("hash", "no common hash in phase 1", "ike-proposal ike-no-proposal 788", "ike-proposal ike-no-proposal 788",
             offers("aes256-sha1-ecp384")),
        Case("group", "no common group in phase 1", "ike-proposal ike-no-proposal 788", "ike-proposal ike-no-proposal 788",
             offers("aes256-sha256-modp1024")),
        Case("psk", "the pre-shared key is wrong", "ike-auth psk-mismatch 789", "ike-auth psk-mismatch 789",
             ("--psk-file", "wrong-psk", *USER)),
        # Certificates that the gateway judges
        Case("client-expired", "the client's certificate has expired", "ike-auth cert-expired 790", "ike-auth our-cert-refused 787",
             machine("expired", "--remote-name", "vpn.example.net")),
        Case("client-future", "the client's certificate is not valid yet: a clock is wrong", "ike-auth cert-not-yet-valid 790",
             "ike-auth our-cert-refused 787", machine("future", "--remote-name", "vpn.example.net")),
        Case("client-revoked", "the client's certificate was revoked", "ike-auth cert-revoked 790", "ike-auth our-cert-refused 787",
             machine("revoked", "--remote-name", "vpn.example.net")),
        Case("client-stranger", "the client's certificate is an unrelated authority's", "ike-auth cert-unknown-ca 790",
             "ike-auth our-cert-refused 787", machine("stranger")),
        Case("client-self-signed", "the client's certificate is signed by itself", "ike-auth cert-unknown-ca 790",
             "ike-auth our-cert-refused 787", machine("self-signed")),
        Case("client-usage", "the client's certificate is for another purpose", "ike-auth cert-usage 790",
             "ike-auth our-cert-refused 787", machine("mail")),
        Case("client-weak", "the client's key is too short", "ike-auth cert-weak 790", "ike-auth our-cert-refused 787",
             machine("weak")),
        # Certificates that the client judges
        Case("server-stranger", "the client does not know the gateway's authority", "ike-auth our-cert-refused 787",
             "ike-auth cert-unknown-ca 790",
             ("--certificate", "good.crt", "--private-key", "good.key", "--ca", "other-ca.crt", *USER)),
        Case("server-name", "the gateway's certificate names another server", "ike-auth our-cert-refused 787",
             "ike-auth cert-name 835", machine("good", "--remote-name", "elsewhere.example.net")),
        # Phase 2
        Case("esp-cipher", "no common cipher in phase 2", "esp esp-no-proposal 788", "esp esp-no-proposal 788",
             offers_esp("aes128-sha256")),
        Case("esp-hash", "no common authentication in phase 2", "esp esp-no-proposal 788", "esp esp-no-proposal 788",
             offers_esp("aes256-sha512")),
        # L2TP
        Case("tunnel-secret-unwanted", "the client has a tunnel secret, the gateway none", "l2tp tunnel-auth 808",
             "l2tp tunnel-auth 808", (*BASE, "--l2tp-secret-file", "wrong-psk")),
        # Users
        Case("user-unknown", "there is no such user", "user-auth user-unknown 691", "user-auth auth-failed 691", as_user("mallory")),
        Case("password", "the password is wrong", "user-auth auth-failed 691", "user-auth auth-failed 691",
             (*PSK, "--user", "bob", "--password-file", "wrong-password")),
        Case("disabled", "the account is disabled", "user-auth account-disabled 647", "user-auth account-disabled 647",
             as_user("disabled")),
        Case("account-expired", "the account has expired", "user-auth account-expired 708", "user-auth auth-failed 691",
             as_user("expired")),
        Case("password-expired", "the password has expired", "user-auth password-expired 648", "user-auth password-expired 648",
             as_user("stale")),
        Case("hours", "the user may not come at this time", "user-auth hours 646", "user-auth hours 646", as_user("hours")),
        Case("dialin", "the user may not dial in", "user-auth dialin-denied 649", "user-auth dialin-denied 649", as_user("denied")),
        Case("user-limit", "the user is connected as often as he may be", "user-auth user-limit 649", "user-auth dialin-denied 649",
             as_user("single"), holds="single"),
        Case("locked", "too many wrong passwords", "user-auth auth-locked 691", "user-auth auth-failed 691", as_user("locked"),
             before=((*PSK, "--user", "locked", "--password-file", "wrong-password"),) * 2),
        Case("auth-method", "the account may not use this authentication method", "user-auth auth-method 812",
             "user-auth auth-failed 691", as_user("eap-only")),
        Case("no-common-method", "no common authentication protocol", "user-auth auth-no-common 919", "user-auth auth-no-common 919",
             as_user("alice", "--auth", "pap")),
        Case("encryption-local", "the client requires the strongest MPPE of a user who may not have any",
             "encryption encryption-local 741", "encryption encryption-refused 742", as_user("clear", "--encryption", "required-128")),
    )),
    Group("eap", {"ppp": {"auth": ["eap-mschap-v2", "peap", "chap-md5"]}}, (
        Case("eap-method", "no common method of EAP", "user-auth eap-no-method 850", "user-auth eap-no-method 850",
             as_user("alice", "--auth", "eap-md5")),
        Case("eap-password", "the password is wrong, in EAP", "user-auth auth-failed 691", "user-auth auth-failed 691",
             (*PSK, "--user", "bob", "--password-file", "wrong-password", "--auth", "eap-mschap-v2")),
        Case("eap-disabled", "the account is disabled, in EAP", "user-auth account-disabled 647", "user-auth account-disabled 647",
             as_user("disabled", "--auth", "eap-mschap-v2")),
        Case("not-recoverable", "CHAP-MD5, and the password is stored as a hash only", "user-auth no-nt-hash 691",
             "user-auth auth-failed 691", as_user("alice", "--auth", "chap-md5")),
    )),
    Group("encrypting", {"ppp": {"encryption": "required"}, "l2tp": {"secret_file": "tunnel-secret"}}, (
        Case("encryption-refused", "the gateway requires MPPE, the client refuses it", "encryption encryption-refused 742",
             "encryption encryption-refused 742", (*BASE, "--l2tp-secret-file", "tunnel-secret", "--encryption", "off")),
        Case("tunnel-secret-wrong", "the tunnel secret is wrong", "l2tp tunnel-auth 808", "l2tp tunnel-auth 808",
             (*BASE, "--l2tp-secret-file", "wrong-psk")),
        Case("tunnel-secret-missing", "the gateway has a tunnel secret, the client none", "l2tp tunnel-auth 808",
             "l2tp tunnel-auth 808"),
    )),
    Group("unencrypted", {"ppp": {"encryption": "off"}}, (
        Case("encryption-refused-by-gateway", "the client requires MPPE, the gateway has it off", "encryption encryption-local 741",
             "encryption encryption-refused 742", (*BASE, "--encryption", "required")),
    )),
    Group("certificates-only", {
        "ike": {"auth": ["cert"], "proposals": ["aes256-sha256-ecp384"], "fragmentation": False,
                "certificate": "big-server.crt", "private_key": "big-server.key"},
        "gateway": {"l2tp_port": 1702},
    }, (
        Case("auth-way", "the client has a pre-shared key, the gateway takes certificates only", "ike-proposal ike-no-proposal 788",
             "ike-proposal ike-no-proposal 788"),
        Case("fragments", "fragments are lost, certificates are larger than a datagram", "ike-auth ike-timeout 792",
             "ike-auth ike-timeout 792", machine("big", "--remote-name", "vpn.example.net"),
             rules=(f"{_FROM} ip frag-off & 0x3fff != 0 drop",), shows="fragments are lost on the way"),
        Case("selectors", "the gateway's L2TP is at another port than the client's", "esp esp-selector 789", "esp esp-selector 789",
             machine("big", "--remote-name", "vpn.example.net")),
    )),
    Group("gateway-expired", {"ike": {"certificate": "server-expired.crt", "private_key": "server-expired.key"}}, (
        Case("server-expired", "the gateway's certificate has expired", "ike-auth our-cert-refused 787", "ike-auth cert-expired 790",
             machine("good")),
    )),
    Group("gateway-future", {"ike": {"certificate": "server-future.crt", "private_key": "server-future.key"}}, (
        Case("server-future", "the gateway's certificate is not valid yet", "ike-auth our-cert-refused 787",
             "ike-auth cert-not-yet-valid 790", machine("good")),
    )),
    Group("gateway-usage", {"ike": {"certificate": "mail-server.crt", "private_key": "mail-server.key"}}, (
        Case("server-usage", "the gateway's certificate is for another purpose", "ike-auth our-cert-refused 787",
             "ike-auth cert-usage 790", machine("good")),
    )),
    Group("gateway-revoked", {"ike": {"certificate": "server-revoked.crt", "private_key": "server-revoked.key"}}, (
        Case("server-revoked", "the gateway's certificate was revoked", "ike-auth our-cert-refused 787", "ike-auth cert-revoked 790",
             machine("good", "--crl", "revoked.crl")),
    )),
    Group("full-pool", {"network_pools": {"pool": ["10.99.0.2-10.99.0.2"]}}, (
        Case("pool-empty", "no address is left", "network pool-empty 717", "network pool-empty 717", as_user("bob"), holds="alice"),
    )),
    Group("full", {"limits": {"max_sessions": 1}}, (
        Case("sessions", "the gateway has as many sessions as it takes", "l2tp limit-sessions 676", "l2tp limit-sessions 676",
             as_user("bob"), holds="alice"),
    )),
    Group("radius-dead", {
        "radius": {"timeout": 0.5, "tries": 1}, "[radius.server]": {"address": "192.0.2.99", "secret_file": "psk"},
    }, (
        Case("radius", "no RADIUS server answers", "user-auth radius-timeout 930", "user-auth auth-failed 691", as_user("elsewhere")),
    )),
    Group("none", None, (
        Case("down", "nothing listens on the gateway's ports", SILENCE, "path ike-no-answer 809"),
    )),
)
# fmt: on
