"""The small parts of the stack: timers, tunnel ids, the inner MTU."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from headrace.model import Auth, Cipher
from headrace.stack.ids import TunnelIds
from headrace.stack.mtu import inner_mtu
from headrace.stack.timers import Timers


def test_timers_fire_in_order_and_once() -> None:
    timers: Timers[str] = Timers()
    timers.set("b", 2.0)
    timers.set("a", 1.0)
    timers.set("c", 3.0)
    timers.set("c", 0.5)
    timers.set("b", None)
    assert timers.next() == 0.5
    assert timers.due(1.0) == ["c", "a"]
    assert timers.due(10.0) == []
    assert timers.next() is None


@given(st.lists(st.tuples(st.integers(0, 20), st.one_of(st.none(), st.floats(0, 100))), max_size=300))
def test_timers_agree_with_a_plain_dictionary(changes: list[tuple[int, float | None]]) -> None:
    timers: Timers[int] = Timers()
    model: dict[int, float] = {}
    for key, deadline in changes:
        timers.set(key, deadline)
        model.pop(key, None)
        if deadline is not None:
            model[key] = deadline
        assert timers.next() == min(model.values(), default=None)
    assert sorted(timers.due(50.0)) == sorted(key for key, when in model.items() if when <= 50.0)


def test_tunnel_ids_run_out_cleanly_and_come_back() -> None:
    ids = TunnelIds(random.Random(7).randbytes)
    taken = [ids.take() for _ in range(65535)]
    assert None not in taken
    assert len(set(taken)) == 65535
    assert 0 not in taken
    assert ids.take() is None
    ids.free(4711)
    assert ids.take() == 4711


def test_inner_mtu_is_the_largest_that_fits() -> None:
    # AES-256-CBC with SHA-1 in UDP: 20 + 8 + 8 + 16 + text + 12; text is a multiple of 16 that holds 8 + 6 + 4 + 4 + mtu + 2.
    mtu = inner_mtu(1500, 4, Cipher.AES_CBC, Auth.HMAC_SHA1_96, udp_encap=True, mppe=True, numbered=False)
    text = 8 + 6 + 4 + 4 + mtu + 2
    assert text % 16 == 0
    assert 20 + 8 + 8 + 16 + text + 12 <= 1500 < 20 + 8 + 8 + 16 + text + 16 + 12
    assert mtu == 1400


@given(
    st.integers(576, 9000),
    st.sampled_from([4, 6]),
    st.sampled_from(list(Cipher)),
    st.sampled_from(list(Auth)),
    st.booleans(),
    st.booleans(),
    st.booleans(),
)
def test_inner_mtu_grows_with_the_path_and_shrinks_with_every_layer(
    path: int, version: int, cipher: Cipher, auth: Auth, udp: bool, mppe: bool, numbered: bool
) -> None:
    mtu = inner_mtu(path, version, cipher, auth, udp_encap=udp, mppe=mppe, numbered=numbered)
    assert mtu < path
    assert mtu <= inner_mtu(path, version, cipher, auth, udp_encap=False, mppe=False, numbered=False)
    assert mtu <= inner_mtu(path + 16, version, cipher, auth, udp_encap=udp, mppe=mppe, numbered=numbered)
