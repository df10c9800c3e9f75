"""Address pools: who gets which address, and when there is none."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.access.pools import AddressRange, AddressTaken, PoolEmpty, Pools, PoolSpec, RangeError, parse_range


def spec(name: str, *texts: str) -> PoolSpec:
    return PoolSpec(name, tuple(parse_range(text) for text in texts))


def test_first_pool_is_the_default_and_hands_out_in_order() -> None:
    pools = Pools([spec("a", "10.0.0.1-10.0.0.2", "10.0.1.7-10.0.1.7"), spec("b", "10.1.0.0/29")])
    assert [str(pools.lease(f"s{i}", user=f"u{i}")) for i in range(3)] == ["10.0.0.1", "10.0.0.2", "10.0.1.7"]
    assert str(pools.lease("x", user="x", pool="b")) == "10.1.0.1"
    assert pools.usage() == {"a": (3, 3), "b": (1, 6)}


def test_n149_empty_pool_says_its_name_and_size() -> None:
    pools = Pools([spec("clients", "10.0.0.0/24")])
    for i in range(254):
        pools.lease(f"s{i}", user=f"u{i}")
    with pytest.raises(PoolEmpty, match=r"^pool clients is empty \(254 of 254\)$"):
        pools.lease("one too many", user="u")
    pools.release("s7")
    assert str(pools.lease("s254", user="u")) == "10.0.0.8"


def test_user_gets_the_same_address_again() -> None:
    pools = Pools([spec("a", "10.0.0.0/24")])
    first = pools.lease("s1", user="alice")
    pools.lease("s2", user="bob")
    pools.release("s1")
    assert pools.lease("s3", user="carol") != first
    assert pools.lease("s4", user="alice") == first


def test_longest_free_address_goes_first() -> None:
    pools = Pools([spec("a", "10.0.0.1-10.0.0.3")])
    for i in range(3):
        pools.lease(f"s{i}", user=f"u{i}")
    for owner in ("s1", "s0", "s2"):
        pools.release(owner)
    assert [str(pools.lease(f"t{i}", user=f"v{i}")) for i in range(3)] == ["10.0.0.2", "10.0.0.1", "10.0.0.3"]


def test_owner_keeps_what_it_has() -> None:
    pools = Pools([spec("a", "10.0.0.0/24")])
    first = pools.lease("s", user="alice")
    assert pools.lease("s", user="alice") == first
    assert pools.usage()["a"][0] == 1
    assert str(pools.lease("s", user="alice", wanted=IPv4Address("10.0.0.99"))) == "10.0.0.99"
    assert pools.usage()["a"][0] == 1
    pools.release("s")
    pools.release("s")
    assert pools.usage()["a"][0] == 0


def test_static_address_in_and_outside_of_a_pool() -> None:
    pools = Pools([spec("a", "10.0.0.1-10.0.0.2")])
    assert str(pools.lease("s", user="alice", wanted=IPv4Address("10.0.0.1"))) == "10.0.0.1"
    assert str(pools.lease("t", user="bob", wanted=IPv4Address("192.168.9.9"))) == "192.168.9.9"
    assert str(pools.lease("u", user="carol")) == "10.0.0.2"
    with pytest.raises(AddressTaken, match=r"^10\.0\.0\.1 is in use by alice$"):
        pools.lease("v", user="dave", wanted=IPv4Address("10.0.0.1"))


def test_static_addresses_are_kept_for_their_accounts() -> None:
    static = {int(IPv4Address("10.0.0.2"))}
    pools = Pools([spec("a", "10.0.0.1-10.0.0.3")], static=lambda: static)
    assert [str(pools.lease(f"s{i}", user=f"u{i}")) for i in range(2)] == ["10.0.0.1", "10.0.0.3"]
    with pytest.raises(PoolEmpty, match=r"3 of 3, 1 kept for static addresses"):
        pools.lease("s2", user="u2")
    static.clear()  # the account gave it up
    assert str(pools.lease("s2", user="u2")) == "10.0.0.2"


def test_address_made_static_later_is_not_given_back_to_others() -> None:
    static: set[int] = set()
    pools = Pools([spec("a", "10.0.0.1-10.0.0.2")], static=lambda: static)
    pools.lease("s", user="alice")
    pools.release("s")
    static.add(int(IPv4Address("10.0.0.1")))
    assert str(pools.lease("t", user="alice")) == "10.0.0.2"


def test_reserved_address_is_nobodys() -> None:
    pools = Pools([spec("a", "10.0.0.1-10.0.0.2")], reserved=[IPv4Address("10.0.0.1")])
    assert str(pools.lease("s", user="u")) == "10.0.0.2"
    with pytest.raises(AddressTaken, match="gateway's own"):
        pools.lease("t", user="u", wanted=IPv4Address("10.0.0.1"))


def test_pool_that_does_not_exist() -> None:
    with pytest.raises(PoolEmpty, match="pool guests does not exist"):
        Pools([spec("a", "10.0.0.0/24")]).lease("s", user="u", pool="guests")
    with pytest.raises(PoolEmpty, match="there is no pool"):
        Pools([]).lease("s", user="u")


def test_fifty_thousand_leases() -> None:
    pools = Pools([spec("a", "10.0.0.0/16")])
    given = {pools.lease(f"s{i}", user=f"u{i}") for i in range(50_000)}
    assert len(given) == 50_000
    for i in range(50_000):
        pools.release(f"s{i}")
    assert pools.usage() == {"a": (0, 65534)}


def test_networks_cover_the_pools() -> None:
    pools = Pools([spec("a", "10.0.0.0-10.0.0.127"), spec("b", "10.0.0.128-10.0.0.255", "10.9.0.1-10.9.0.1")])
    assert pools.networks() == (IPv4Network("10.0.0.0/24"), IPv4Network("10.9.0.1/32"))


@settings(max_examples=60)
@given(st.lists(st.tuples(st.booleans(), st.integers(0, 11)), max_size=80))
def test_nobody_ever_shares_an_address(steps: list[tuple[bool, int]]) -> None:
    static = {int(IPv4Address("10.0.0.3"))}
    pools = Pools([spec("a", "10.0.0.1-10.0.0.8")], reserved=[IPv4Address("10.0.0.1")], static=lambda: static)
    held: dict[str, IPv4Address] = {}
    for take, who in steps:
        owner = f"s{who}"
        if take:
            try:
                held[owner] = pools.lease(owner, user=f"u{who % 5}")
            except PoolEmpty:
                assert len(held) == 6
        else:
            pools.release(owner)
            held.pop(owner, None)
        assert len(set(held.values())) == len(held)
        assert not {IPv4Address("10.0.0.1"), IPv4Address("10.0.0.3")} & set(held.values())


@given(st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1))
def test_n202_parse_range_gives_a_usable_range_or_a_reason(one: int, other: int) -> None:
    text = f"{IPv4Address(one)}-{IPv4Address(other)}"
    if one > other:
        with pytest.raises(RangeError, match="is reversed"):
            parse_range(text)
        return
    try:
        found = parse_range(text)
    except RangeError:
        return
    assert str(found) == text
    assert parse_range(str(found)) == found
    assert 0 < len(found) <= 1 << 24


def test_range_overlap() -> None:
    a, b, c = (parse_range(t) for t in ("10.0.0.1-10.0.0.5", "10.0.0.5-10.0.0.9", "10.0.0.6-10.0.0.9"))
    assert a.overlaps(b)
    assert not a.overlaps(c)
    assert IPv4Address("10.0.0.5") in a
    assert AddressRange(IPv4Address(0), IPv4Address(2**32 - 1)).overlaps(a)
