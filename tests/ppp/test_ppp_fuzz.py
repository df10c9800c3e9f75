"""Whatever a peer sends, in whatever phase: nothing is raised, state stays bounded, and a link that should be silent is silent."""

from __future__ import annotations

import gc

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.ppp.harness import REMOTE, Script, client_config, golden, server_config

from headrace.model import Encryption
from headrace.ppp.config import AuthMethod, LinkConfig
from headrace.ppp.events import Authenticated, Ipv4Up, LinkDown, MppeUp
from headrace.ppp.frame import Frame, Packet, Proto
from headrace.ppp.option import Option, emit_options

CONFIGS = [
    server_config(),
    server_config(encryption=Encryption.REQUIRED),
    server_config(auth_methods=(AuthMethod.PAP,)),
    server_config(auth_methods=(), passive_start=2.0),
    client_config(),
    client_config(encryption=Encryption.REQUIRED, auth_methods=(AuthMethod.MSCHAP_V2, AuthMethod.PAP, AuthMethod.CHAP_MD5)),
    client_config(credentials=None),
]

protocols = st.sampled_from([*Proto, 0x4001, 0x0001])
small = st.binary(max_size=40)
options = st.lists(
    st.builds(Option, st.sampled_from([0, 1, 2, 3, 5, 7, 8, 13, 17, 18, 19, 129, 255]), st.binary(max_size=6)), max_size=5
).map(emit_options)
packets = st.builds(Packet, st.integers(0, 16), st.integers(0, 5), st.one_of(options, small)).map(Packet.emit)
frames = st.one_of(
    small,
    st.builds(Frame, protocols, st.one_of(packets, small)).map(Frame.emit),
    st.sampled_from([frame.emit() for name in ("pppd-psk.txt", "pppd-mppe_refused.txt") for _, frame in golden(name)]),
)
steps = st.lists(st.one_of(frames, st.floats(0.0, 20.0)), max_size=40)


def size_of(script: Script) -> int:
    """Objects that a link holds on to, all the way down, but for its queues that the driver empties."""
    seen: set[int] = set()
    waiting: list[object] = [script.link._lcp, script.link._ncps, script.link._parked, script.link._auth, script.link._grant]
    while waiting:
        thing = waiting.pop()
        if id(thing) in seen or isinstance(thing, type) or thing is script.link or callable(thing):
            continue
        seen.add(id(thing))
        waiting += [child for child in gc.get_referents(thing) if not isinstance(child, type)]
    return len(seen)


def follow(script: Script, walk: list[bytes | float]) -> None:
    for step in walk:
        if isinstance(step, float):
            script.wait(step)
        else:
            script.raw(step)
            frames_out = script.end.drain()
            assert len(frames_out) <= 12
            assert all(len(frame) <= 2 + max(1400, len(step)) for frame in frames_out)
    deadline = script.link.deadline()
    assert deadline is None or not script.end.has(LinkDown)
    assert len(script.end.all(LinkDown)) <= 1
    if script.end.has(LinkDown):
        assert isinstance([event for event in script.end.events][-1], LinkDown)  # noqa: C416


def starting(config: LinkConfig) -> Script:
    return Script(config)


def authenticated(config: LinkConfig) -> Script:
    script = Script(config)
    if config.server and config.auth_methods == (AuthMethod.MSCHAP_V2,):
        script.authenticate()
    else:
        script.lcp()
    return script


@pytest.mark.parametrize("number", range(len(CONFIGS)))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(walk=steps)
def test_random_walks_from_the_start(number: int, walk: list[bytes | float]) -> None:
    follow(starting(CONFIGS[number]), walk)


@pytest.mark.parametrize("number", range(len(CONFIGS)))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(walk=steps)
def test_random_walks_from_an_open_lcp(number: int, walk: list[bytes | float]) -> None:
    follow(authenticated(CONFIGS[number]), walk)


@settings(max_examples=150, deadline=None)
@given(walk=steps)
def test_nobody_gets_in_without_a_proof(walk: list[bytes | float]) -> None:
    """No walk of a peer that does not know the password brings a network up."""
    script = Script(server_config())
    script.lcp()
    follow(script, walk)
    assert not script.end.has(Authenticated)
    assert not script.end.has(Ipv4Up)


@settings(max_examples=150, deadline=None)
@given(walk=steps)
def test_no_network_without_the_encryption_that_is_required(walk: list[bytes | float]) -> None:
    script = Script(server_config(encryption=Encryption.REQUIRED))
    script.authenticate()
    follow(script, walk)
    kinds = script.end.order(MppeUp, Ipv4Up)
    assert Ipv4Up not in kinds or kinds[0] is MppeUp


@settings(max_examples=100, deadline=None)
@given(before=steps, after=steps)
def test_random_walks_around_an_encrypted_network(before: list[bytes | float], after: list[bytes | float]) -> None:
    script = Script(server_config(encryption=Encryption.REQUIRED, mppe_bits=(128,)))
    script.authenticate()
    follow(script, before)
    if not script.end.has(LinkDown):
        script.negotiate(Proto.CCP, (Option(18, bytes.fromhex("01000040")),))
    follow(script, after)


@settings(max_examples=100, deadline=None)
@given(walk=steps)
def test_a_server_that_cannot_prove_itself_is_never_believed(walk: list[bytes | float]) -> None:
    script = Script(client_config())
    script.lcp(Option(3, b"\xc2\x23\x81"))
    follow(script, walk)
    assert not script.end.has(Authenticated)


def test_state_stays_bounded() -> None:
    script = Script(server_config(encryption=Encryption.OPTIONAL))
    script.authenticate()
    script.negotiate(Proto.IPCP, (Option(3, REMOTE.packed),))
    flood = [
        *(Frame(number, b"x" * 1400).emit() for number in range(0x4001, 0x4801, 2)),
        *(Frame(Proto.LCP, Packet(12, n & 0xFF, script.magic + b"I" * 1000).emit()).emit() for n in range(1000)),
        *(Frame(Proto.CHAP, Packet(2, n & 0xFF, bytes(1000)).emit()).emit() for n in range(1000)),
        *(Frame(Proto.LCP, Packet(9, n & 0xFF, script.magic + bytes(1000)).emit()).emit() for n in range(1000)),
        *(
            Frame(number, Packet(1, 1).emit()).emit()
            for number in Proto
            if number not in {Proto.LCP, Proto.IPCP, Proto.CCP}
            for _ in range(10)
        ),
    ]
    for frame in flood[:200]:
        script.raw(frame)
    script.hear()
    before = size_of(script)
    for frame in flood:
        script.raw(frame)
        script.hear()
        script.now += 0.01
    assert not script.end.down
    assert size_of(script) <= before + 50
