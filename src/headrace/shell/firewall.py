"""Whether this machine's own nftables rules let the gateway's packets in.

The rules are walked as the kernel would walk them for the first packet of a stranger. What cannot be told from the rules alone (a
sender's address, a set, a rate) leaves the verdict open, and an open verdict accuses nobody. Rules that the older iptables put into the
kernel are not seen by ``nft`` and not looked at.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final, TypeAlias

Rules: TypeAlias = Sequence[Mapping[str, Any]]

_DEPTH: Final = 16
"""Jumps within jumps, as many as the kernel allows."""
_PROTOCOLS: Final = {"udp": 17, "esp": 50, "tcp": 6, "icmp": 1, "ipv6-icmp": 58, "icmpv6": 58, "ah": 51, "sctp": 132, "gre": 47}
_LIMITS: Final = frozenset({"limit", "quota", "ct count", "xt", "match", "vmap", "fwd", "queue", "synproxy", "tproxy"})
"""Statements that may keep a rule from coming to its verdict, or whose verdict is not written in it."""


class Fate(Enum):
    """What becomes of a packet at a chain."""

    ACCEPT = "accept"
    DROP = "drop"
    ON = "on"
    """No rule of this chain decides."""
    OPEN = "open"
    """It depends on what is not known here."""


@dataclass(frozen=True, slots=True)
class Packet:
    """The first of a stranger's packets."""

    protocol: int
    port: int = 0
    version: int = 4

    def __str__(self) -> str:
        return f"UDP {self.port}" if self.protocol == 17 else f"IP protocol {self.protocol} (ESP)"


def rules_in_force() -> Rules | None:
    """What ``nft`` shows; ``None`` where there is no nft or no right to ask it."""
    try:
        done = subprocess.run(["nft", "-j", "list", "ruleset"], capture_output=True, timeout=5, check=True)
        return list(json.loads(done.stdout)["nftables"])
    except (OSError, subprocess.SubprocessError, ValueError, KeyError, TypeError):
        return None


def blocking(rules: Rules, packet: Packet) -> str:
    """Name the chain that surely drops a packet, ``family table chain``; empty if none does."""
    families = {"inet", "ip" if packet.version == 4 else "ip6"}
    chains = [item["chain"] for item in rules if "chain" in item]
    for chain in chains:
        if chain.get("hook") != "input" or chain["family"] not in families:
            continue
        fate = _walk(rules, chain, chain["name"], packet, 0)
        if fate is Fate.ON:
            fate = Fate.DROP if chain.get("policy") == "drop" else Fate.ACCEPT
        if fate is Fate.DROP:
            return f"{chain['family']} {chain['table']} {chain['name']}"
    return ""


def _walk(rules: Rules, base: Mapping[str, Any], name: str, packet: Packet, depth: int) -> Fate:
    if depth > _DEPTH:
        return Fate.OPEN
    for rule in _rules_of(rules, base, name):
        fate = _judge(rules, base, rule["expr"], packet, depth)
        if fate is None:  # return
            return Fate.ON
        if fate is not Fate.ON:
            return fate
    return Fate.ON


def _rules_of(rules: Rules, base: Mapping[str, Any], name: str) -> Iterable[Mapping[str, Any]]:
    where = (base["family"], base["table"], name)
    return (
        item["rule"]
        for item in rules
        if "rule" in item and (item["rule"]["family"], item["rule"]["table"], item["rule"]["chain"]) == where
    )


def _judge(rules: Rules, base: Mapping[str, Any], expressions: Sequence[Any], packet: Packet, depth: int) -> Fate | None:
    """One rule. ``None`` is the verdict `return`."""
    sure = True
    for expression in expressions:
        if not isinstance(expression, dict):
            continue
        ((kind, body),) = expression.items()
        if kind == "match":
            answer = _matches(body, packet)
            if answer is False:
                return Fate.ON
            sure = sure and bool(answer)
        elif kind in {"accept", "drop", "reject"}:
            verdict = Fate.ACCEPT if kind == "accept" else Fate.DROP
            if sure:
                return verdict
            # A drop that may be meant for others leaves us where we were; an acceptance that may be meant for us leaves it open.
            return Fate.OPEN if verdict is Fate.ACCEPT else Fate.ON
        elif kind in {"jump", "goto"}:
            fate = _walk(rules, base, body["target"], packet, depth + 1)
            if fate is Fate.ON and kind == "goto" and sure:
                return None
            return fate if sure or fate is not Fate.DROP else Fate.ON
        elif kind == "return":
            return None if sure else Fate.OPEN
        elif kind in _LIMITS:
            sure = False
            if kind in {"vmap", "queue", "tproxy"}:
                return Fate.OPEN
    return Fate.ON


def _matches(body: Mapping[str, Any], packet: Packet) -> bool | None:
    left, right = body.get("left"), body.get("right")
    if not isinstance(left, dict):
        return None
    if _is_of_another_protocol(left, packet):
        return False  # whatever the operator: a packet without this header matches nothing of it
    answer = _compare(left, right, packet)
    if body.get("op") == "!=" and answer is not None:
        return not answer
    return answer if body.get("op") in {"==", "in", "!="} else None


def _compare(left: Mapping[str, Any], right: Any, packet: Packet) -> bool | None:
    match left:
        case {"ct": {"key": "state"}}:
            return "new" in _values(right)
        case {"meta": {"key": "iifname" | "iif"}}:
            return False if right == "lo" else None
        case {"meta": {"key": "l4proto"}} | {"payload": {"field": "protocol" | "nexthdr"}}:
            return _among(packet.protocol, right)
        case {"meta": {"key": "nfproto"}}:
            return bool(right == ("ipv4" if packet.version == 4 else "ipv6"))
        case {"payload": {"protocol": "udp" | "th", "field": "dport"}}:
            return _among(packet.port, right)
    return None


def _is_of_another_protocol(left: Mapping[str, Any], packet: Packet) -> bool:
    match left:
        case {"payload": {"protocol": "ip" | "ip6" as protocol}}:
            return bool(protocol != ("ip" if packet.version == 4 else "ip6"))
        case {"payload": {"protocol": "th"}}:
            return packet.protocol != _PROTOCOLS["udp"]
        case {"payload": {"protocol": str() as protocol}}:
            return protocol in _PROTOCOLS and _PROTOCOLS[protocol] != packet.protocol
    return False


def _values(right: Any) -> list[Any]:
    if isinstance(right, dict) and "set" in right:
        return list(right["set"])
    return list(right) if isinstance(right, list) else [right]


def _among(number: int, right: Any) -> bool | None:
    unknown = False
    for value in _values(right):
        if isinstance(value, dict) and "range" in value:
            low, high = value["range"]
            if isinstance(low, int) and isinstance(high, int) and low <= number <= high:
                return True
            continue
        one = _PROTOCOLS.get(value) if isinstance(value, str) else value
        if one == number:
            return True
        unknown = unknown or (isinstance(value, str) and one is None)
    return None if unknown else False
