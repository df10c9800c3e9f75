"""Reliable delivery by itself: windows, order, acknowledgement, repetition, giving up."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.sim import Adapter, Simulation, Weather

from headrace.l2tp.config import L2tpConfig
from headrace.l2tp.header import parse_control
from headrace.l2tp.transport import MAX_QUEUE, Ignored, Letter, Transport, distance, full_cycle

CONFIG = L2tpConfig()


def numbers(out: list[bytes]) -> list[tuple[int, int, bytes]]:
    return [(header.ns, header.nr, body) for header, body in map(parse_control, out)]


def letter(n: int) -> Letter:
    return Letter(0, b"%06d" % n)


def test_distance_wraps() -> None:
    assert distance(2, 65534) == 4
    assert distance(65534, 2) == 65532


def test_the_full_cycle_is_31_seconds() -> None:
    assert full_cycle(CONFIG) == 31.0


def test_slow_start_opens_the_window_one_by_one() -> None:
    transport = Transport(CONFIG)
    transport.set_peer_window(8)
    for n in range(20):
        transport.send(letter(n))
    sizes = []
    sent = 0
    for _ in range(6):
        sent += len(transport.poll(0.0))
        sizes.append(sent)
        transport.receive(0, sent, None, 0.0)
    assert sizes == [1, 3, 7, 15, 20, 20]


def test_the_peers_window_is_never_exceeded() -> None:
    transport = Transport(CONFIG)
    transport.set_peer_window(2)
    for n in range(50):
        transport.send(letter(n))
    acked = 0
    while acked < 50:
        out = transport.poll(0.0)
        assert 1 <= len(out) <= 2
        acked += len(out)
        transport.receive(0, acked, None, 0.0)
    assert transport.idle


@pytest.mark.parametrize("size", [0, 1])
def test_a_window_of_nothing_is_one(size: int) -> None:
    transport = Transport(CONFIG)
    transport.set_peer_window(size)
    transport.send(letter(0))
    transport.send(letter(1))
    assert len(transport.poll(0.0)) == 1
    transport.receive(0, 1, None, 0.0)
    assert len(transport.poll(0.0)) == 1


def test_an_acknowledgement_rides_along_or_goes_alone() -> None:
    transport = Transport(CONFIG)
    assert transport.receive(0, 0, letter(1), 0.0) == [letter(1)]
    transport.send(letter(2))
    assert numbers(transport.poll(0.0)) == [(0, 1, letter(2).body)]
    transport.receive(1, 1, letter(3), 0.0)
    assert numbers(transport.poll(0.0)) == [(1, 2, b"")]
    assert transport.poll(0.0) == []


def test_what_comes_ahead_is_held_and_what_comes_twice_is_acknowledged_again() -> None:
    transport = Transport(CONFIG)
    assert transport.receive(1, 0, letter(1), 0.0) == []
    assert transport.receive(2, 0, letter(2), 0.0) == []
    assert transport.poll(0.0) == []
    assert transport.receive(0, 0, letter(0), 0.0) == [letter(0), letter(1), letter(2)]
    assert numbers(transport.poll(0.0)) == [(0, 3, b"")]
    assert transport.receive(1, 0, letter(9), 0.0) == []
    assert numbers(transport.poll(0.0)) == [(0, 3, b"")]


def test_outside_of_the_windows_is_ignored() -> None:
    transport = Transport(L2tpConfig(receive_window=4))
    with pytest.raises(Ignored, match="ahead") as caught:
        transport.receive(4, 0, letter(0), 0.0)
    assert caught.value.counter == "l2tp_ns"
    with pytest.raises(Ignored, match="never sent") as caught:
        transport.receive(0, 1, letter(0), 0.0)
    assert caught.value.counter == "l2tp_nr"
    assert transport.poll(0.0) == []


def test_an_acknowledgement_of_the_past_changes_nothing() -> None:
    transport = Transport(CONFIG)
    for n in range(3):
        transport.send(letter(n))
        transport.poll(0.0)
        transport.receive(0, n + 1, None, 0.0)
    assert transport.idle
    transport.receive(0, 1, None, 0.0)
    transport.send(letter(3))
    assert numbers(transport.poll(0.0)) == [(3, 0, letter(3).body)]


def test_repetition_doubles_up_to_the_cap_and_ends() -> None:
    transport = Transport(CONFIG)
    transport.send(letter(0))
    times = []
    now = 0.0
    while not transport.failed:
        if transport.poll(now):
            times.append(now)
        due = transport.deadline()
        assert due is not None
        now = due
        transport.tick(now)
    assert times == [0, 1, 3, 7, 15, 23]
    assert now == 31.0
    assert transport.deadline() is None


def test_a_repetition_acknowledges_what_came_meanwhile() -> None:
    transport = Transport(CONFIG)
    transport.send(letter(0))
    assert numbers(transport.poll(0.0)) == [(0, 0, letter(0).body)]
    transport.receive(0, 0, letter(7), 0.5)
    transport.poll(0.5)
    transport.tick(1.0)
    assert numbers(transport.poll(1.0)) == [(0, 1, letter(0).body)]


def test_after_a_timeout_the_window_opens_anew_and_late_acknowledgements_count() -> None:
    transport = Transport(CONFIG)
    transport.set_peer_window(8)
    for n in range(8):
        transport.send(letter(n))
    transport.poll(0.0)
    transport.receive(0, 1, None, 0.0)
    transport.poll(0.0)
    transport.receive(0, 3, None, 0.0)
    assert len(transport.poll(0.0)) == 4
    transport.tick(1.0)
    assert [ns for ns, _, _ in numbers(transport.poll(1.0))] == [3]
    transport.receive(0, 7, None, 1.1)
    assert [ns for ns, _, _ in numbers(transport.poll(1.1))] == [7]
    transport.receive(0, 8, None, 1.2)
    assert transport.idle


def test_sequence_numbers_wrap() -> None:
    left, right = Transport(CONFIG), Transport(CONFIG)
    for n in range(65536 + 10):
        left.send(letter(n % 1000))
        (out,) = left.poll(0.0)
        header, body = parse_control(out)
        assert right.receive(header.ns, header.nr, Letter(0, body), 0.0) == [letter(n % 1000)]
        (out,) = right.poll(0.0)
        header, _ = parse_control(out)
        left.receive(header.ns, header.nr, None, 0.0)
    assert left.idle
    assert header.nr == 10


def test_the_queue_is_bounded_and_the_last_message_always_fits() -> None:
    transport = Transport(CONFIG)
    assert all(transport.send(letter(n)) for n in range(MAX_QUEUE))
    assert not transport.send(letter(0))
    transport.poll(0.0)
    transport.send_last(letter(999))
    transport.receive(0, 1, None, 0.0)
    assert numbers(transport.poll(0.0)) == [(1, 0, letter(999).body)]


class End:
    """A transport that sends a list and collects what comes."""

    def __init__(self, count: int) -> None:
        self.transport = Transport(L2tpConfig(retransmit_tries=40))
        self.got: list[Letter] = []
        self.now = 0.0
        for n in range(count):
            self.transport.send(letter(n))

    def adapter(self) -> Adapter[bytes]:
        def receive(data: bytes, now: float) -> None:
            self.now = now
            header, body = parse_control(data)
            self.got += self.transport.receive(header.ns, header.nr, Letter(0, body) if body else None, now)

        def tick(now: float) -> None:
            self.now = now
            self.transport.tick(now)

        return Adapter(lambda: self.transport.poll(self.now), receive, self.transport.deadline, tick)


@pytest.mark.parametrize("seed", range(20))
def test_everything_arrives_once_and_in_order_whatever_the_weather(seed: int) -> None:
    dice = random.Random(seed)
    weather = Weather(loss=dice.uniform(0, 0.5), duplicate=dice.uniform(0, 0.5), reorder=dice.uniform(0, 0.5), jitter=0.3)
    left, right = End(60), End(40)
    with Simulation(left.adapter(), right.adapter(), weather, seed=seed) as sim:
        left.now = right.now = sim.now
        sim.run_until(lambda: left.transport.idle and right.transport.idle, limit=5000)
        assert right.got == [letter(n) for n in range(60)]
        assert left.got == [letter(n) for n in range(40)]


@given(st.lists(st.tuples(st.integers(0, 65535), st.integers(0, 65535), st.booleans()), max_size=60))
def test_any_numbers_are_taken_or_ignored(items: list[tuple[int, int, bool]]) -> None:
    transport = Transport(L2tpConfig(receive_window=8))
    transport.send(letter(0))
    transport.poll(0.0)
    counters = set()
    for ns, nr, has_body in items:
        try:
            transport.receive(ns, nr, letter(ns) if has_body else None, 0.0)
        except Ignored as error:
            counters.add(error.counter)
        transport.poll(0.0)
        assert len(transport._held) < 8
    assert counters <= {"l2tp_ns", "l2tp_nr"}
