"""IKE fragmentation as Windows and Cisco do it."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.ike.harness import Pair, cert_config

from headrace.ike import events
from headrace.ike.fragment import Reassembly, split
from headrace.ike.limits import FRAGMENT_LIFE, MAX_MESSAGE_OCTETS
from headrace.ike.message import Header, parse_chain
from headrace.ike.payloads import Fragment
from headrace.ike.refusal import Drop
from headrace.model import Datagram


def pieces(datagrams: list[bytes]) -> list[Fragment]:
    return [parse_chain(d[16], d[28:], padded=False).one(132, Fragment) for d in datagrams]


@given(st.binary(max_size=3000), st.integers(60, 1400), st.randoms(use_true_random=False))
def test_what_is_split_is_joined_in_any_order(body: bytes, size: int, dice: random.Random) -> None:
    message = Header(b"i" * 8, b"r" * 8, 5, 2, 1, 0, 28 + len(body)).emit() + body
    datagrams = split(message, 7, size)
    assert all(len(d) <= size and int.from_bytes(d[24:28], "big") == len(d) for d in datagrams)
    assert all(d[:16] == message[:16] and d[18] == 2 and d[19] == 0 for d in datagrams)
    held = 0

    def charge(octets: int) -> bool:
        nonlocal held
        held += octets
        return True

    reassembly = Reassembly(charge)
    fragments = pieces(datagrams)
    dice.shuffle(fragments)
    joined = [whole for fragment in fragments if (whole := reassembly.add(fragment, 1.0)) is not None]
    assert joined == [message]
    assert held == 0 and reassembly.deadline() is None


def fragment(number: int, *, last: bool = False, key: int = 1, data: bytes = b"data") -> Fragment:
    return Fragment(key, number, last, data)


def reassembly() -> Reassembly:
    return Reassembly(lambda _octets: True)


def test_a_repeated_fragment_never_replaces_the_first() -> None:
    box = reassembly()
    box.add(fragment(1, data=b"first"), 0)
    with pytest.raises(Drop):
        box.add(fragment(1, data=b"other"), 0)
    assert box.add(fragment(2, last=True, data=b"!"), 0) == b"first!"


@pytest.mark.parametrize(
    "sequence",
    [
        [fragment(2, last=True), fragment(3, last=True)],
        [fragment(2, last=True), fragment(3)],
        [fragment(3), fragment(2, last=True)],
    ],
)
def test_contradictions_discard_the_message(sequence: Any) -> None:
    box = reassembly()
    box.add(sequence[0], 0)
    with pytest.raises(Drop):
        box.add(sequence[1], 0)
    assert box.deadline() is None


@pytest.mark.parametrize("bad", [fragment(0), fragment(1, data=b"")])
def test_fragments_that_mean_nothing(bad: Fragment) -> None:
    box = reassembly()
    with pytest.raises(Drop):
        box.add(bad, 0)
    assert box.deadline() is None


def test_bounds() -> None:
    box = reassembly()
    box.add(fragment(1, key=1), 0)
    box.add(fragment(1, key=2), 1)
    box.add(fragment(1, key=3), 2)
    assert box.add(fragment(2, key=1, last=True), 3) is None, "the oldest had to go"
    with pytest.raises(Drop):
        for number in range(1, 256):
            box.add(fragment(number, key=9, data=b"x" * 1000), 4)
    box.expire(4 + FRAGMENT_LIFE)
    assert box.deadline() is None
    assert MAX_MESSAGE_OCTETS == 65536


def test_no_room_at_all() -> None:
    box = Reassembly(lambda octets: octets <= 0)
    with pytest.raises(Drop):
        box.add(fragment(1), 0)


@pytest.mark.parametrize("size", [552, 576, 1200])
def test_certificates_in_small_datagrams(size: int) -> None:
    client = cert_config("client", padding=60, fragment_size=size)
    server = cert_config("server", padding=60, fragment_size=size)
    pair = Pair(client, server).connect()
    encrypted = [d for _, _, d in pair.wire if d.data[18] == 2 and (d.data[19] & 1 or d.data[16] == 132)]
    assert all(d.data[16] == 132 and len(d.data) <= size for d in encrypted)
    assert len(encrypted) > 4


def test_only_who_can_gets_fragments() -> None:
    client = cert_config("client", padding=60, fragmentation=False)
    pair = Pair(client, cert_config("server", padding=60)).connect()
    assert not any(d.data[16] == 132 for _, _, d in pair.wire)


def test_small_messages_stay_whole() -> None:
    pair = Pair(cert_config("client"), cert_config("server")).connect()
    assert not any(d.data[16] == 132 for _, _, d in pair.wire)


def test_answer_is_repeated_when_the_fragments_come_again() -> Any:
    lost: list[Datagram] = []

    def tap(_now: float, right: bool, d: Datagram) -> Datagram | None:
        if not right and d.data[16] == 132 and len(lost) < 2:
            lost.append(d)
            return None
        return d

    client = cert_config("client", padding=60, fragment_size=700)
    server = cert_config("server", padding=60, fragment_size=700)
    pair = Pair(client, server, tap=tap).connect()
    assert len(lost) == 2
    assert len(pair.server.all(events.PeerUp)) == 1


def test_messages_in_clear_may_come_in_fragments_too() -> Any:
    """strongSwan splits whatever is too long, certificate requests of message 4 for instance."""

    def tap(_now: float, right: bool, d: Datagram) -> Datagram | None:
        if d.data[18] == 2 and not d.data[19] & 1 and any(d.data[8:16]) and d.data[16] == 4:
            for piece in split(d.data, 9, 200):
                pieces_sent.append(piece)
                target = pair.server if right else pair.client
                arrived = pair._arrive(Datagram(d.local, d.remote, piece))
                assert arrived is not None
                target.ike.receive(arrived, pair.now)
            return None
        return d

    pieces_sent: list[bytes] = []
    pair = Pair(cert_config("client"), cert_config("server"), tap=tap)
    pair.connect()
    assert len(pieces_sent) >= 4
