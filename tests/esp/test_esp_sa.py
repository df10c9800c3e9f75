"""Lives of ESP SAs: when to renew, what overlaps with what, who takes what away."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.esp.proposal import EspProposal
from headrace.esp.sa import Child, Children, ChildState, Due, Plan, plan
from headrace.model import Auth, Cipher, EspKeys

SETTLE, OTHER = 5.0, 30.0
numbers = itertools.count(0x1000)


def child(*, initiator: bool = True, started: float = 0.0, tag: bytes = b"m", life: float = 1000.0) -> Child:
    spi_in, spi_out = next(numbers), next(numbers)

    def keys(spi: int, *, outbound: bool) -> EspKeys:
        return EspKeys(spi, outbound, Cipher.AES_CBC, Auth.HMAC_SHA1_96, bytes(16), bytes(20))

    return Child(
        inbound=keys(spi_in, outbound=False),
        outbound=keys(spi_out, outbound=True),
        proposal=EspProposal.parse("aes128-sha1"),
        initiator=initiator,
        plan=Plan(0.9 * life, life),
        started=started,
        tag=tag,
        local_port=1701,
        remote_port=1701,
    )


def family(*items: tuple[Child, float]) -> Children:
    """Children, each activated at its time, outbound installed where it is to be."""
    children = Children(SETTLE, OTHER)
    for item, when in items:
        children.add(item)
        if children.activate(item, when):
            item.outbound_installed = item.outbound_used = True
    return children


@given(st.floats(1, 1e6), st.floats(1, 1e6), st.integers(0, 10**12), st.booleans(), st.floats(0, 1, exclude_max=True))
def test_plans_are_within_the_life(rekey_time: float, life: Any, octets: int, initiator: bool, jitter: float) -> None:
    made = plan(rekey_time, life, octets, initiator=initiator, jitter=jitter)
    assert 0 < made.rekey_after < made.life == life
    assert 0 <= made.soft_bytes <= 0.8 * octets
    assert made.hard_bytes == octets
    if initiator:
        assert made.rekey_after <= rekey_time


@given(st.floats(10, 1e6), st.integers(10**6, 10**12), st.floats(0, 1), st.floats(0, 1))
def test_who_began_renews_first(rekey_time: float, octets: int, one: float, two: float) -> None:
    ours = plan(rekey_time, 1.1 * rekey_time, octets, initiator=True, jitter=one)
    theirs = plan(rekey_time, 1.1 * rekey_time, octets, initiator=False, jitter=two)
    assert ours.rekey_after < theirs.rekey_after
    assert ours.soft_bytes < theirs.soft_bytes


def test_larval_pairs_have_no_timers() -> None:
    children = Children(SETTLE, OTHER)
    children.add(child())
    assert children.deadline() is None and children.usable == 0 and children.alive and not children.active


def test_renewal_and_end() -> None:
    one = child()
    children = family((one, 10.0))
    assert children.deadline() == 910.0
    assert children.due(909.0) == []
    assert children.due(910.0) == [(Due.REKEY, one)]
    assert children.due(1010.0) == [(Due.EXPIRE, one), (Due.REKEY, one)]
    assert children.get(one.spi_in) is one and children.by_outbound(one.spi_out) is one
    children.remove(one)
    assert one.state is ChildState.GONE and len(children) == 0 and children.deadline() is None


@pytest.mark.parametrize(("initiator", "wait"), [(True, SETTLE), (False, OTHER)])
def test_successor(initiator: bool, wait: float) -> None:
    old, new = child(), child(initiator=initiator, started=50.0, tag=b"a")
    children = family((old, 10.0), (new, 51.0))
    assert (old.state, new.state) == (ChildState.SUPERSEDED, ChildState.ACTIVE)
    assert old.retire_at == 51.0 + wait and old.rekey_at is None
    assert children.due(51.0 + wait) == [(Due.RETIRE, old)]
    assert children.active == [new] and children.oldest_superseded() is old


@pytest.mark.parametrize(("first", "second", "loser"), [(b"a", b"z", 0), (b"z", b"a", 1)])
@pytest.mark.parametrize("ours", [0, 1])
def test_rivals(first: Any, second: Any, loser: int, ours: int) -> None:
    """Both began before either was complete: the lower nonce loses, whichever was complete first."""
    pair = [child(initiator=ours == 0, started=50.0, tag=first), child(initiator=ours == 1, started=50.5, tag=second)]
    children = family((pair[0], 51.0), (pair[1], 51.5))
    assert pair[loser].state is ChildState.SUPERSEDED
    assert children.active == [pair[1 - loser]]
    assert pair[loser].retire_at == 51.5 + (SETTLE if pair[loser].initiator else OTHER)
    assert pair[1].outbound_installed is (loser == 0), "a loser is not used at all"


def test_both_ends_choose_the_same_rival() -> None:
    for tags in itertools.permutations((b"a", b"b")):
        here = [child(initiator=True, started=1.0, tag=tags[0]), child(initiator=False, started=1.1, tag=tags[1])]
        there = [child(initiator=False, started=1.1, tag=tags[0]), child(initiator=True, started=1.0, tag=tags[1])]
        one, two = family((here[0], 2.0), (here[1], 2.1)), family((there[1], 2.0), (there[0], 2.1))
        assert one.active[0].tag == two.active[0].tag == b"b"


def test_the_superseded_serves_again_when_its_successor_goes() -> None:
    old, new = child(), child(started=50.0)
    children = family((old, 10.0), (new, 51.0))
    children.remove(new)
    assert children.revive(52.0) is old
    assert old.state is ChildState.ACTIVE and old.retire_at is None and old.rekey_at == 910.0
    assert children.revive(53.0) is None, "there is one in use"


def test_an_outbound_sa_that_was_removed_never_comes_back() -> None:
    old, new = child(), child(started=50.0)
    children = family((old, 10.0), (new, 51.0))
    old.outbound_installed = False
    children.remove(new)
    assert children.revive(52.0) is None
    never = child(started=50.0, tag=b"a")
    never.state = ChildState.SUPERSEDED
    children.add(never)
    assert children.revive(52.0) is never, "its numbers have not begun"


def test_one_that_the_peer_was_told_of_never_comes_back() -> None:
    old, new = child(), child(started=50.0)
    children = family((old, 10.0), (new, 51.0))
    old.ends_at = 60.0
    children.remove(new)
    assert children.revive(52.0) is None
    assert old.expires_at == 60.0
