"""The small parts: schedule, throttle, retransmission, seen ids, selectors, keys of odd sizes."""

from __future__ import annotations

import hmac
import random
import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.ike.harness import config, seeded

from headrace.errors import Slug
from headrace.fsm import as_markdown
from headrace.ike import initiator, main_mode, quick_initiator, quick_mode, quick_responder, responder
from headrace.ike.complaints import phase1_failure, phase2_failure
from headrace.ike.context import Context
from headrace.ike.keymat import Phase1Keys, Undecryptable, child_keymat, expand_cipher_key
from headrace.ike.limits import MAX_FRAGMENT_OCTETS, MAX_INFORMATIONAL_IDS, MAX_QUICK_IDS, NOTIFY_ADDRESSES, NOTIFY_PER_SECOND
from headrace.ike.payloads import Identification
from headrace.ike.phase1 import SeenIds
from headrace.ike.proposal import IkeHash, IkeProposal
from headrace.ike.refusal import Refuse
from headrace.ike.retransmit import Retransmission
from headrace.ike.schedule import Schedule
from headrace.ike.selectors import is_one_host, remote_port
from headrace.ike.throttle import Throttle
from headrace.model import Endpoint


@given(st.lists(st.tuples(st.integers(0, 9), st.none() | st.floats(0, 100)), max_size=80), st.floats(0, 100))
def test_schedule_against_a_dictionary(orders: Any, now: float) -> None:
    schedule: Schedule[int] = Schedule()
    plain: dict[int, float] = {}
    for key, when in orders:
        schedule.set(key, when)
        plain.pop(key, None)
        if when is not None:
            plain[key] = when
    assert schedule.deadline() == min(plain.values(), default=None)
    due = schedule.due(now)
    assert sorted(due) == sorted(key for key, when in plain.items() if when <= now)
    assert [plain[key] for key in due] == sorted(plain[key] for key in due)
    assert schedule.deadline() == min((when for when in plain.values() if when > now), default=None)


def test_schedule_does_not_grow_with_use() -> None:
    schedule: Schedule[int] = Schedule()
    for number in range(10_000):
        schedule.set(number % 10, float(number))
    assert len(schedule._heap) < 100


def test_throttle() -> None:
    throttle = Throttle()
    one = Endpoint.of("192.0.2.1", 1).address
    assert throttle.allow(one, 1.0) and not throttle.allow(one, 1.9) and throttle.allow(one, 2.0)
    many = [Endpoint.of(f"10.0.{n >> 8}.{n & 255}", 1).address for n in range(NOTIFY_ADDRESSES + 10)]
    assert sum(throttle.allow(address, 3.5) for address in many) == NOTIFY_PER_SECOND
    for second, address in enumerate(many, 10):
        assert throttle.allow(address, float(second))
    assert len(throttle._last) == NOTIFY_ADDRESSES


def test_retransmission() -> None:
    timer = Retransmission(config(), 0.0)
    times = []
    while not timer.exhausted:
        times.append(timer.due)
        timer.repeat(timer.due)
    assert times == pytest.approx([2.0, 5.6, 12.08, 23.744, 44.7392])
    assert timer.due == pytest.approx(82.53056)
    assert timer.sent == 6


def test_seen_ids() -> None:
    seen = SeenIds()
    for number in range(MAX_INFORMATIONAL_IDS + 5):
        seen.informational(number)
    assert 0 not in seen and 5 in seen and len(seen._informational) == MAX_INFORMATIONAL_IDS
    for number in range(10**6, 10**6 + MAX_QUICK_IDS):
        assert not seen.exhausted
        seen.quick(number)
    assert seen.exhausted and 10**6 in seen


def test_context_draws() -> None:
    draws = iter([bytes(8), b"12345678", bytes(4), b"\0\0\0\1", b"\x80\0\0\0"])
    ctx = Context(config(), lambda _n: next(draws), lambda _spi: True, 500, 4500, 4500)
    assert ctx.cookie() == b"12345678" and ctx.message_id() == 1 and ctx.fraction() == 0.5
    assert ctx.charge(MAX_FRAGMENT_OCTETS) and not ctx.charge(1) and ctx.charge(-MAX_FRAGMENT_OCTETS)


@pytest.mark.parametrize(
    ("kind", "data", "good"),
    [
        (1, b"1234", True),
        (1, b"123", False),
        (5, bytes(16), True),
        (4, b"1234\xff\xff\xff\xff", True),
        (4, b"1234\xff\xff\xff\x00", False),
        (4, b"1234", False),
        (6, bytes(16) + b"\xff" * 16, True),
        (7, b"12341234", True),
        (7, b"12341235", False),
        (8, bytes(32), True),
        (2, b"name", False),
        (99, b"1234", False),
    ],
)
def test_one_host(kind: Any, data: bytes, good: bool) -> None:
    assert is_one_host(Identification(kind, 17, 1701, data)) is good


def test_ports_of_selectors() -> Any:
    def host(port: int, protocol: int = 17) -> Identification:
        return Identification(1, protocol, port, b"1234")

    assert remote_port([], initiator=True) == 0
    assert remote_port([host(1701), host(5)], initiator=True) == 5
    assert remote_port([host(5), host(1701)], initiator=False) == 5
    for wrong, begun in (
        ([host(1701)], True),
        ([host(1), host(1701)], True),
        ([host(1701), host(1)], False),
        ([host(1701), host(1701, 6)], False),
    ):
        with pytest.raises(Refuse) as refused:
            remote_port(wrong, initiator=begun)
        assert refused.value.failure.slug is Slug.ESP_SELECTOR


@pytest.mark.parametrize(
    ("digest", "octets"), [(IkeHash.MD5, 32), (IkeHash.SHA1, 24), (IkeHash.SHA1, 32), (IkeHash.SHA512, 32)]
)
def test_cipher_key_longer_than_the_hash(digest: IkeHash, octets: int) -> None:
    """RFC 2409 appendix B, written out a second time."""
    e = bytes(range(digest.octets))
    key, block = b"", b"\0"
    while len(key) < octets:
        block = hmac.new(e, block, digest.keyword).digest()
        key += block
    assert expand_cipher_key(digest, e, octets) == (e[:octets] if len(e) >= octets else key[:octets])


@pytest.mark.parametrize("suite", ["aes256-sha1-modp1024", "3des-md5-modp1024", "des-sha1-modp1024", "aes128-sha512-modp1024"])
def test_encryption_and_padding(suite: str) -> None:
    keys = Phase1Keys.derive(IkeProposal.parse(suite), b"skeyid", b"shared", b"c" * 16, b"publics")
    block = keys.proposal.block
    for length in (1, block - 1, block, block + 1, 100):
        ciphertext = keys.encrypt(keys.first_iv, b"x" * length)
        assert len(ciphertext) % block == 0
        assert keys.decrypt(keys.first_iv, ciphertext) == b"x" * length + bytes(-length % block)
    for bad in (b"", b"x", b"x" * (block + 1)):
        with pytest.raises(Undecryptable):
            keys.decrypt(keys.first_iv, bad)
    assert len(keys.message_iv(b"last", 7)) == block
    assert len(child_keymat(keys, b"spi!", b"nonces", 100)) == 100
    assert child_keymat(keys, b"spi!", b"nonces", 10) != child_keymat(keys, b"spi2", b"nonces", 10)
    assert "skeyid" not in repr(keys).replace("skeyid=", "") and keys.e.hex() not in repr(keys)


def test_meaning_of_notifications() -> None:
    assert phase1_failure(14, "", proven=False).slug is Slug.IKE_NO_PROPOSAL
    assert phase1_failure(24, "psk", proven=True).slug is Slug.OUR_AUTH_REFUSED
    assert phase1_failure(23, "psk", proven=True).slug is Slug.PSK_MISMATCH
    assert phase1_failure(16, "psk", proven=True).slug is Slug.PSK_MISMATCH
    assert phase1_failure(16, "psk", proven=False).slug is Slug.IKE_NOTIFY
    assert phase1_failure(20, "cert", proven=True).slug is Slug.OUR_CERT_REFUSED
    assert phase1_failure(18, "cert", proven=True).slug is Slug.IKE_ID
    assert phase1_failure(17, "", proven=False).slug is Slug.IKE_KEY_EXCHANGE
    assert phase1_failure(5, "", proven=False).slug is Slug.IKE_VERSION
    assert "notify 9999" in phase1_failure(9999, "", proven=False).detail
    assert phase2_failure(14, initiator=True).slug is Slug.ESP_NO_PROPOSAL
    assert phase2_failure(18, initiator=True).slug is Slug.ESP_SELECTOR
    assert phase2_failure(1, initiator=True).slug is Slug.IKE_NOTIFY
    assert "asked for itself" in phase2_failure(14, initiator=False).detail


@pytest.mark.parametrize("table", [main_mode.INITIATOR, main_mode.RESPONDER, quick_mode.INITIATOR, quick_mode.RESPONDER])
def test_tables_name_methods_that_exist(table: Any) -> None:
    owners = (initiator.Initiator, responder.Responder, quick_initiator.QuickInitiator, quick_responder.QuickResponder)
    for actions, _ in table.values():
        for name in (actions,) if isinstance(actions, str) else actions:
            assert any(hasattr(owner, name) for owner in owners)
    assert as_markdown(table).count("\n") == len(table) + 1


def test_a_protocol_core_imports_no_system() -> None:
    script = (
        "import sys; before = set(sys.modules); import headrace.ike.endpoint; "
        "bad = {'asyncio', 'cffi', 'numpy', 'ssl'} & (set(sys.modules) - before); assert not bad, bad; "
        "rooms = {m.split('.')[1] for m in sys.modules if m.startswith('headrace.')}; "
        "assert rooms <= {'ike', 'esp', 'core', 'errors', 'fsm', 'model', 'wire', 'version'}, rooms"
    )
    subprocess.run([sys.executable, "-c", script], check=True, env={"PYTHONPATH": ":".join(sys.path)})


def test_same_seed_same_octets() -> None:
    from tests.ike.harness import Pair

    one, two = (Pair(seed=4).connect() for _ in range(2))
    assert [d.data for _, _, d in one.wire] == [d.data for _, _, d in two.wire]
    assert random.Random(1).random() and seeded(1)(4) == seeded(1)(4)
