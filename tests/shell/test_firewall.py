"""nftables rules as `nft -j list ruleset` shows them, walked for a stranger's first packet."""

from __future__ import annotations

from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.shell.test_config_host import config, fake_proc

from headrace.shell import hostcheck
from headrace.shell.firewall import Packet, blocking
from headrace.shell.hostcheck import check_host

IKE, NATT, ESP = Packet(17, 500), Packet(17, 4500), Packet(50)
INPUT = "inet filter input"


def match(left: dict[str, Any], right: Any, op: str = "==") -> dict[str, Any]:
    return {"match": {"op": op, "left": left, "right": right}}


def dport(right: Any, protocol: str = "udp", op: str = "==") -> dict[str, Any]:
    return match({"payload": {"protocol": protocol, "field": "dport"}}, right, op)


def l4(right: Any) -> dict[str, Any]:
    return match({"meta": {"key": "l4proto"}}, right)


LOOPBACK = match({"meta": {"key": "iifname"}}, "lo")
WAN = match({"meta": {"key": "iifname"}}, "eth0")
KNOWN = match({"ct": {"key": "state"}}, ["established", "related"], "in")
INVALID = match({"ct": {"key": "state"}}, "invalid", "in")
SENDER = match({"payload": {"protocol": "ip", "field": "saddr"}}, "@blocked")
ACCEPT: dict[str, Any] = {"accept": None}
DROP: dict[str, Any] = {"drop": None}
COUNTER = {"counter": {"packets": 3, "bytes": 99}}
RATE = {"limit": {"rate": 100, "burst": 5, "per": "second"}}


def ruleset(
    *rules: list[Any], policy: str = "drop", family: str = "inet", vpn: tuple[list[Any], ...] = ()
) -> list[dict[str, Any]]:
    chain = {
        "family": family,
        "table": "filter",
        "name": "input",
        "type": "filter",
        "hook": "input",
        "prio": 0,
        "policy": policy,
    }
    where = {"family": family, "table": "filter"}
    return [
        {"metainfo": {"json_schema_version": 1}},
        {"table": {"family": family, "name": "filter"}},
        {"chain": chain},
        {"chain": {**where, "name": "vpn"}},
        *({"rule": {**where, "chain": "input", "expr": expressions}} for expressions in rules),
        *({"rule": {**where, "chain": "vpn", "expr": expressions}} for expressions in vpn),
    ]


def dropped(rules: list[dict[str, Any]]) -> set[str]:
    return {str(packet) for packet in (IKE, NATT, ESP) if blocking(rules, packet)}


ALL = {"UDP 500", "UDP 4500", "IP protocol 50 (ESP)"}


@pytest.mark.parametrize(
    ("rules", "expected"),
    [
        (ruleset(policy="accept"), set()),
        (ruleset(), ALL),
        (ruleset([LOOPBACK, ACCEPT], [KNOWN, ACCEPT], [INVALID, DROP]), ALL),
        (ruleset([dport({"set": [500, 4500]}), COUNTER, ACCEPT]), {"IP protocol 50 (ESP)"}),
        (ruleset([dport({"range": [400, 600]}), ACCEPT], [l4("esp"), ACCEPT]), {"UDP 4500"}),
        (ruleset([dport(4500, op="!="), ACCEPT]), {"UDP 4500", "IP protocol 50 (ESP)"}),
        (ruleset([l4({"set": ["udp", "esp"]}), ACCEPT]), set()),
        (ruleset([match({"payload": {"protocol": "ip", "field": "protocol"}}, 50), ACCEPT]), {"UDP 500", "UDP 4500"}),
        (ruleset([dport({"set": [500, 4500]}, "tcp"), ACCEPT]), ALL),
        (ruleset([dport({"set": [500, 4500]}, "th"), ACCEPT]), {"IP protocol 50 (ESP)"}),
        (ruleset([WAN, ACCEPT]), set()),
        (ruleset([dport(500), RATE, ACCEPT]), {"UDP 4500", "IP protocol 50 (ESP)"}),
        (ruleset([SENDER, DROP], policy="accept"), set()),
        (ruleset([dport(500), {"reject": {"type": "icmp"}}], policy="accept"), {"UDP 500"}),
        (
            ruleset([{"jump": {"target": "vpn"}}], vpn=([dport(500), ACCEPT], [{"return": None}], [l4("esp"), ACCEPT])),
            ALL - {"UDP 500"},
        ),
        (ruleset([{"goto": {"target": "vpn"}}], [ACCEPT], vpn=([dport(500), ACCEPT],)), ALL - {"UDP 500"}),
        (ruleset([WAN, {"jump": {"target": "vpn"}}], policy="accept", vpn=([DROP],)), set()),
        (ruleset([{"jump": {"target": "input"}}]), set()),
        (ruleset([{"vmap": {"key": {}, "data": {}}}]), set()),
        (ruleset([{"xt": {"type": "match", "name": "comment"}}, ACCEPT]), set()),
        (ruleset(family="ip6"), set()),
        (ruleset(family="ip"), ALL),
        (ruleset(family="bridge"), set()),
    ],
)
def test_what_is_dropped(rules: list[dict[str, Any]], expected: set[str]) -> None:
    assert dropped(rules) == expected


def test_the_chain_that_drops_is_named() -> None:
    assert blocking(ruleset(), IKE) == INPUT
    assert blocking(ruleset(family="ip6"), Packet(17, 500, 6)) == "ip6 filter input"


EXPRESSION = st.recursive(
    st.none() | st.integers() | st.text(max_size=5) | st.sampled_from(["accept", "drop", "udp", "dport", "set", "range"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["left", "right", "op", "set", "meta", "payload", "key"]), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(
    st.lists(
        st.fixed_dictionaries(
            {
                "match": st.fixed_dictionaries(
                    {"op": st.sampled_from(["==", "in", "<"]), "left": EXPRESSION, "right": EXPRESSION}
                )
            }
        )
    )
)
def test_matches_that_nobody_expected_accuse_nobody(matches: list[dict[str, Any]]) -> None:
    assert blocking(ruleset([*matches, DROP], policy="accept"), IKE) in {"", INPUT}


def test_check_tells_of_the_firewall_and_how_to_open_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hostcheck, "rules_in_force", lambda: ruleset([l4("esp"), ACCEPT]))
    found = [f for f in check_host(config(tmp_path), proc=fake_proc(tmp_path)) if f.key == "firewall"]
    assert [f.fatal for f in found] == [False, False]
    assert "drop UDP 50500 over IPv4 (chain inet filter input): clients will show 809" in found[0].reason
    assert found[0].remedy == "nft insert rule inet filter input udp dport 50500 accept"


def test_check_tells_of_forwarding_that_is_off(tmp_path: Path) -> None:
    proc = fake_proc(tmp_path)
    for value, expected in (("0", ["network.forwarding"]), ("1", [])):
        (proc / "sys" / "net" / "ipv4").mkdir(parents=True, exist_ok=True)
        (proc / "sys" / "net" / "ipv4" / "ip_forward").write_text(value + "\n")
        found = [f for f in check_host(config(tmp_path), proc=proc) if f.key == "network.forwarding"]
        assert [f.key for f in found] == expected
        assert not any(f.fatal for f in found)


def test_check_tells_of_an_interface_that_is_too_small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = config(tmp_path, listen=(IPv4Address("192.0.2.1"),))
    for mtu, expected in ((1500, []), (1454, ["ppp.mru"])):
        addresses = [
            hostcheck.InterfaceAddress("lo", 1000, IPv4Address("127.0.0.1")),
            hostcheck.InterfaceAddress("ppp8", 1000, IPv4Address("198.51.100.1")),
            hostcheck.InterfaceAddress("ppp9", mtu, IPv4Address("192.0.2.1")),
        ]
        monkeypatch.setattr(hostcheck, "interface_addresses", lambda addresses=addresses: addresses)
        found = hostcheck._path(made)
        assert [f.key for f in found] == expected
    assert found[0].remedy == "set ppp.mru = 1356, and network.mtu likewise"
