"""Wrong passwords: delays, locks, bounds."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_address

from headrace.access.throttle import DELAY_MAX, Throttle

HOME = ip_address("198.51.100.7")
STRANGER = ip_address("203.0.113.9")


@dataclass(frozen=True)
class Bounds:
    max_failures: int = 5
    max_failures_total: int = 20
    failure_window: float = 60.0
    lockout_time: float = 300.0


def test_n143_answers_come_later_and_later() -> None:
    throttle = Throttle(Bounds(max_failures=0, max_failures_total=0))
    delays = [throttle.failed("alice", STRANGER, float(i)) for i in range(12)]
    assert delays[:2] == [0.0, 0.0]
    assert delays == sorted(delays)
    assert delays[-1] == DELAY_MAX
    assert throttle.locked("alice", STRANGER, 12.0) == 0.0


def test_n143_lock_from_one_address_leaves_others_alone() -> None:
    throttle = Throttle(Bounds())
    for i in range(5):
        assert throttle.locked("alice", STRANGER, float(i)) == 0.0
        throttle.failed("alice", STRANGER, float(i))
    assert throttle.locked("alice", STRANGER, 5.0) == 299.0
    assert throttle.locked("alice", HOME, 5.0) == 0.0
    assert throttle.locked("bob", STRANGER, 5.0) == 0.0
    assert throttle.locked("alice", STRANGER, 304.0) == 0.0


def test_n143_guessing_from_many_addresses_locks_the_name_but_not_its_home() -> None:
    throttle = Throttle(Bounds())
    throttle.succeeded("alice", HOME)
    for i in range(20):
        throttle.failed("alice", ip_address(f"203.0.113.{i}"), 0.1 * i)
    assert throttle.locked("alice", ip_address("192.0.2.1"), 2.0) > 0
    assert throttle.locked("alice", HOME, 2.0) == 0.0


def test_window_forgets() -> None:
    throttle = Throttle(Bounds())
    for i in range(100):
        throttle.failed("alice", STRANGER, 20.0 * i)
        assert throttle.locked("alice", STRANGER, 20.0 * i) == 0.0


def test_right_password_begins_anew() -> None:
    throttle = Throttle(Bounds())
    for _ in range(4):
        throttle.failed("alice", STRANGER, 0.0)
    throttle.succeeded("alice", STRANGER)
    throttle.failed("alice", STRANGER, 1.0)
    assert throttle.locked("alice", STRANGER, 1.0) == 0.0


def test_failures_during_a_lock_do_not_make_it_longer() -> None:
    throttle = Throttle(Bounds())
    for _ in range(50):
        throttle.failed("alice", STRANGER, 0.0)
    assert throttle.locked("alice", STRANGER, 0.0) == 300.0
    assert throttle.locked("alice", STRANGER, 300.0) == 0.0


def test_ipv6_neighbours_count_together() -> None:
    throttle = Throttle(Bounds())
    for i in range(5):
        throttle.failed("alice", ip_address(f"2001:db8::{i}"), 0.0)
    assert throttle.locked("alice", ip_address("2001:db8::ffff"), 0.0) > 0
    assert throttle.locked("alice", ip_address("2001:db8:0:1::1"), 0.0) == 0.0


def test_memory_is_bounded() -> None:
    throttle = Throttle(Bounds(), capacity=100)
    for i in range(1000):
        throttle.failed(f"name{i}", STRANGER, 0.0)
        throttle.succeeded(f"other{i}", STRANGER)
    assert len(throttle._pairs.rows) <= 100
    assert len(throttle._names.rows) <= 100
    assert len(throttle._good) <= 100
