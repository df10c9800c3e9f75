"""IPv6 blocks: one for each session, the first for the gateway, the same again for the same user."""

from __future__ import annotations

from ipaddress import IPv6Address, IPv6Network

import pytest

from headrace.access.pools import PoolEmpty
from headrace.access.pools6 import Prefixes


def test_each_session_has_its_own_block_and_the_gateway_the_first() -> None:
    prefixes = Prefixes([IPv6Network("2001:db8::/62")])
    assert prefixes.own == IPv6Address("2001:db8::1")
    given = [prefixes.lease(f"s{n}", user=f"u{n}") for n in range(3)]
    assert given == [IPv6Network(f"2001:db8:0:{n}::/64") for n in (1, 2, 3)]
    assert prefixes.lease("s1", user="u1") == given[1]
    with pytest.raises(PoolEmpty, match=r"3 of 3"):
        prefixes.lease("s9", user="u9")
    prefixes.release("s0")
    prefixes.release("s1")
    prefixes.release("nobody")
    assert prefixes.lease("s8", user="u1") == given[1], "what the user had"
    assert prefixes.lease("s9", user="u9") == given[0], "free longest"
    assert prefixes.used == 3


def test_blocks_with_room_to_delegate_and_several_networks() -> None:
    prefixes = Prefixes([IPv6Network("2001:db8::/54"), IPv6Network("2001:db8:f000::/55")], delegated_length=56)
    assert prefixes.size == 3
    given = [prefixes.lease(f"s{n}", user="u") for n in range(2)]
    assert given == [IPv6Network("2001:db8:0:200::/55"), IPv6Network("2001:db8:f000::/55")]


def test_no_network_is_an_empty_pool() -> None:
    prefixes = Prefixes([])
    assert prefixes.own is None
    with pytest.raises(PoolEmpty):
        prefixes.lease("s", user="u")
