"""The whole ladder, two stacks back to back: up, down, refused, lost, repeated."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.stack.harness import INNER, FakeTables, Faults, World, failures, ike_config

from headrace.errors import Slug
from headrace.model import Encryption, Failure, FilterAction, FilterRule, MppePolicy, Rung, SessionLimits
from headrace.ppp.config import LinkConfig
from headrace.stack import events
from headrace.stack.lac import Lac


def up(world: World, **client: object) -> tuple[object, object]:
    gateway = world.gateway()
    dialler = world.client(**client)  # type: ignore[arg-type]
    world.dial(dialler)
    assert world.run(60, until=lambda: bool(dialler.of(events.SessionUp)) and bool(gateway.of(events.SessionUp))), (
        world.seed,
        failures(gateway),
        failures(dialler),
    )
    return gateway, dialler


def test_a_session_comes_up_with_addresses_and_records_of_every_rung() -> None:
    world = World()
    gateway = world.gateway()
    client = world.client()
    world.dial(client)
    assert world.run(30, until=lambda: bool(client.of(events.SessionUp)) and bool(gateway.of(events.SessionUp)))
    record = gateway.ladder.sessions()[0]
    assert record.username == "alice"
    assert record.local_address == INNER
    assert record.remote_address == client.ladder.sessions()[0].local_address
    assert [r for r in (Rung.L2TP, Rung.LCP, Rung.USER_AUTH, Rung.NETWORK) if r in record.rungs] == [
        Rung.L2TP,
        Rung.LCP,
        Rung.USER_AUTH,
        Rung.NETWORK,
    ]
    assert record.peer.auth == "psk"
    assert record.peer.host_name == "client"
    entry = gateway.tables.sessions[record.index]
    assert entry.open4
    assert entry.own4 == record.remote_address
    assert client.tables.sessions[client.ladder.sessions()[0].index].default_route


@pytest.mark.parametrize("seed", range(12))
def test_a_bad_network_only_makes_it_slower(seed: int) -> None:
    world = World(seed, Faults(loss=0.15, duplicate=0.15, reorder=0.3))
    gateway = world.gateway()
    client = world.client()
    world.dial(client)
    assert world.run(120, until=lambda: bool(client.of(events.SessionUp)) and bool(gateway.of(events.SessionUp))), (
        seed,
        failures(gateway),
        failures(client),
    )
    assert len(gateway.ladder.sessions()) == 1


def test_hanging_up_tells_the_other_side_and_leaves_nothing() -> None:
    world = World()
    gateway = world.gateway()
    client = world.client()
    world.dial(client)
    assert world.run(30, until=lambda: bool(gateway.of(events.SessionUp)) and bool(client.of(events.SessionUp)))
    client.ladder.close_all(Failure(Slug.USER_REQUEST), world.now)
    world.pump(client)
    assert world.run(40, until=lambda: client.ladder.finished and gateway.ladder.finished)
    world.run(1)
    down = gateway.of(events.SessionDown)
    assert len(down) == 1
    for side in (gateway, client):
        assert (side.tables.peers, side.tables.sas, side.tables.sessions, side.tables.mppe) == ({}, {}, {}, {})
        assert side.ladder.peers() == []


def test_the_gateway_disconnects_one_session_and_the_client_hears_why() -> None:
    world = World()
    gateway = world.gateway()
    a, b = world.client("192.0.2.2"), world.client("192.0.2.3")
    world.dial(a)
    world.dial(b)
    assert world.run(30, until=lambda: len(gateway.of(events.SessionUp)) == 2 and bool(b.of(events.SessionUp)))
    victim = next(r for r in gateway.ladder.sessions() if str(r.peer.remote.address) == "192.0.2.2")
    assert gateway.ladder.disconnect(victim.handle, Failure(Slug.ADMIN, "by hand"), world.now)
    world.pump(gateway)
    assert world.run(40, until=lambda: a.ladder.finished)
    assert isinstance(a.ladder, Lac)
    assert a.ladder.outcome is not None
    assert len(gateway.ladder.sessions()) == 1
    assert not b.of(events.SessionDown)


@pytest.mark.parametrize(
    ("password", "user", "gateway_slug", "client_slug"),
    [("wrong", "alice", Slug.AUTH_FAILED, Slug.AUTH_FAILED), ("wonderland", "mallory", Slug.USER_UNKNOWN, Slug.AUTH_FAILED)],
)
def test_a_wrong_user_is_refused_on_both_sides_with_691(
    password: str, user: str, gateway_slug: Slug, client_slug: Slug
) -> None:
    world = World()
    gateway = world.gateway()
    client = world.client(user=user, password=password)
    world.dial(client)
    assert world.run(60, until=lambda: client.ladder.finished and gateway.ladder.finished)
    assert isinstance(client.ladder, Lac)
    assert client.ladder.outcome is not None
    assert client.ladder.outcome.slug is client_slug
    assert gateway_slug in [f.slug for f in failures(gateway)]
    assert not gateway.tables.sessions


def test_a_wrong_pre_shared_key_is_named_on_both_sides() -> None:
    world = World()
    gateway = world.gateway()
    client = world.client(ike=ike_config(psk_for=lambda _: b"another key altogether"))
    world.dial(client)
    assert world.run(120, until=lambda: isinstance(client.ladder, Lac) and client.ladder.outcome is not None)
    assert client.ladder.outcome.slug is Slug.PSK_MISMATCH  # type: ignore[attr-defined]
    assert Slug.PSK_MISMATCH in [f.slug for f in failures(gateway)]
    world.run(120)
    assert not gateway.tables.peers


@pytest.mark.parametrize(
    ("server", "client", "outcome"),
    [
        (Encryption.REQUIRED, Encryption.OPTIONAL, "mppe"),
        (Encryption.OPTIONAL, Encryption.REQUIRED, "mppe"),
        (Encryption.REQUIRED, Encryption.REQUIRED, "mppe"),
        (Encryption.OPTIONAL, Encryption.OPTIONAL, "up"),
        (Encryption.OFF, Encryption.OPTIONAL, "clear"),
        (Encryption.OPTIONAL, Encryption.OFF, "clear"),
        (Encryption.REQUIRED, Encryption.OFF, "refused"),
        (Encryption.OFF, Encryption.REQUIRED, "refused"),
    ],
)
def test_encryption_policies_meet(server: Encryption, client: Encryption, outcome: str) -> None:
    world = World()
    gateway = world.gateway(link=LinkConfig(server=True, local_address=INNER, encryption=server))
    dialler = world.client(link=LinkConfig(server=False, encryption=client))
    world.dial(dialler)
    if outcome == "refused":
        assert world.run(60, until=lambda: dialler.ladder.finished and gateway.ladder.finished)
        slugs = {f.slug for f in failures(gateway)} | {f.slug for f in failures(dialler)}
        assert slugs & {Slug.ENCRYPTION_REFUSED, Slug.ENCRYPTION_LOCAL}, slugs
        assert not gateway.of(events.SessionUp)
        return
    assert world.run(60, until=lambda: bool(dialler.of(events.SessionUp)) and bool(gateway.of(events.SessionUp)))
    record = gateway.ladder.sessions()[0]
    entry = gateway.tables.sessions[record.index]
    assert record.mtu == dialler.ladder.sessions()[0].mtu == 1400, "1400 inner octets pass, with and without MPPE"
    assert entry.mss4 == 1360
    if outcome == "mppe":
        assert record.mppe == "128-bit stateless"
        theirs = dialler.ladder.sessions()[0].index
        assert gateway.tables.mppe[record.index, True].start_key == dialler.tables.mppe[theirs, False].start_key
        assert gateway.tables.mppe[record.index, False].start_key == dialler.tables.mppe[theirs, True].start_key
    if outcome == "clear":
        assert record.mppe == ""
    if server is Encryption.REQUIRED:
        assert entry.mppe_policy is MppePolicy.REQUIRED


def test_a_full_gateway_says_so_and_disturbs_nobody() -> None:
    world = World()
    gateway = world.gateway(max_sessions=1)
    first, second = world.client("192.0.2.2"), world.client("192.0.2.3")
    world.dial(first)
    assert world.run(30, until=lambda: bool(gateway.of(events.SessionUp)))
    world.dial(second)
    assert world.run(60, until=lambda: second.ladder.finished)
    assert Slug.LIMIT_SESSIONS in [f.slug for f in failures(gateway)]
    assert len(gateway.ladder.sessions()) == 1
    assert not first.of(events.SessionDown)


def test_a_full_table_refuses_cleanly() -> None:
    world = World()
    gateway = world.gateway()
    gateway.tables._max_sessions = 0
    client = world.client()
    world.dial(client)
    assert world.run(60, until=lambda: client.ladder.finished)
    assert Slug.LIMIT_SESSIONS in [f.slug for f in failures(gateway)]


def test_a_peer_that_never_begins_l2tp_is_sent_away() -> None:
    world = World()
    gateway = world.gateway()
    client = world.client()
    client.ladder._on_ipsec_up = lambda *_: None  # type: ignore[method-assign]
    world.dial(client)
    assert world.run(10, until=lambda: bool(gateway.of(events.PeerUp)))
    assert world.run(90, until=lambda: gateway.ladder.finished)
    assert Slug.L2TP_SILENT in [f.slug for f in failures(gateway)]
    assert not gateway.tables.peers


def test_a_peer_that_gives_up_before_l2tp_is_told_of() -> None:
    """ESP is blocked on its way to the gateway: the client hangs up before the gateway's patience is over."""
    world = World()
    gateway = world.gateway()
    client = world.client()
    client.ladder._on_ipsec_up = lambda *_: None  # type: ignore[method-assign]
    world.dial(client)
    assert world.run(10, until=lambda: bool(gateway.of(events.PeerUp)) and bool(client.of(events.PeerUp)))
    client.ladder.close_all(Failure(Slug.USER_REQUEST), world.now)
    assert world.run(10, until=lambda: gateway.ladder.finished)
    assert [f.slug for f in failures(gateway)].count(Slug.L2TP_SILENT) == 1


def test_clients_with_the_same_everything_are_told_apart_by_their_sa() -> None:
    """Two clients behind two NATs, both 192.168.1.2 inside: nothing but the SA differs."""
    world = World()
    gateway = world.gateway()
    clients = [world.client(f"203.0.113.{n}", user="alice") for n in (5, 6, 7)]
    for client in clients:
        world.dial(client)
    assert world.run(30, until=lambda: len(gateway.of(events.SessionUp)) == 3)
    addresses = {r.remote_address for r in gateway.ladder.sessions()}
    assert len(addresses) == 3


def test_rekeying_swaps_the_sa_under_the_session() -> None:
    world = World()
    gateway = world.gateway(ike=ike_config(esp_rekey_time=120.0, rekey_time=400.0))
    client = world.client(ike=ike_config(esp_rekey_time=100.0, rekey_time=500.0))
    world.dial(client)
    assert world.run(30, until=lambda: bool(gateway.of(events.SessionUp)) and bool(client.of(events.SessionUp)))
    before = {keys.spi for _, keys in gateway.tables.sas.values()}
    world.run(1500)
    after = {keys.spi for _, keys in gateway.tables.sas.values()}
    assert not before & after
    assert len(gateway.tables.sas) == 2
    assert len(gateway.ladder.sessions()) == 1
    assert not gateway.of(events.SessionDown)
    assert not client.of(events.SessionDown)


def test_a_vanished_client_is_noticed_and_everything_of_it_goes() -> None:
    world = World()
    gateway = world.gateway()
    client = world.client()
    world.dial(client)
    assert world.run(30, until=lambda: bool(gateway.of(events.SessionUp)))
    world.sides.remove(client)
    assert world.run(400, until=lambda: gateway.ladder.finished)
    world.run(60)
    assert {f.slug for f in failures(gateway)} & {Slug.DPD_LOST, Slug.ECHO_LOST, Slug.HELLO_LOST}
    assert (gateway.tables.peers, gateway.tables.sas, gateway.tables.sessions) == ({}, {}, {})


def test_random_control_packets_never_disturb_a_session() -> None:
    world = World(3)
    gateway = world.gateway()
    client = world.client()
    world.dial(client)
    assert world.run(30, until=lambda: bool(gateway.of(events.SessionUp)) and bool(client.of(events.SessionUp)))
    index = gateway.ladder.sessions()[0].index
    for _ in range(2000):
        junk = world.random.randbytes(world.random.randrange(80))
        match world.random.randrange(3):
            case 0:
                gateway.ladder.l2tp_control(world.random.choice([10, 11, 999]), b"\xc8\x02" + junk, 1701, 1701, world.now)
            case 1:
                gateway.ladder.ppp_frame(world.random.choice([index, 999]), b"\x00" + junk, world.now)
            case _:
                gateway.ladder.clear_l2tp(
                    world.sides[0].ladder.peers()[0].local, world.sides[0].ladder.peers()[0].remote, junk, world.now
                )
    world.pump(gateway)
    world.run(100)
    assert len(gateway.ladder.sessions()) == 1
    assert replace(gateway.tables.sessions[index]).open4
    assert isinstance(gateway.tables, FakeTables)


@pytest.mark.parametrize(
    ("settings", "seconds", "slug"),
    [({"idle_timeout": 60.0}, 75, Slug.IDLE_TIMEOUT), ({"session_timeout": 90.0}, 95, Slug.SESSION_TIMEOUT)],
)
def test_a_session_ends_when_its_time_is_over(settings: dict[str, float], seconds: float, slug: Slug) -> None:
    world = World()
    gateway = world.gateway(**settings)  # type: ignore[arg-type]
    client = world.client()
    world.dial(client)
    assert world.run(30, until=lambda: bool(gateway.of(events.SessionUp)))
    began = world.now
    assert world.run(200, until=lambda: bool(gateway.of(events.SessionDown)))
    assert world.now - began < seconds
    assert slug in [f.slug for f in failures(gateway)]


@pytest.mark.parametrize(
    ("limits", "seconds", "slug"),
    [
        (SessionLimits(idle_time=60.0), 75, Slug.IDLE_TIMEOUT),
        (SessionLimits(session_time=90.0), 95, Slug.SESSION_TIMEOUT),
        (SessionLimits(quota_time=40.0), 45, Slug.QUOTA),
        (SessionLimits(quota_octets=1000), 15, Slug.QUOTA),
    ],
)
def test_limits_of_a_session_count_at_once(limits: SessionLimits, seconds: float, slug: Slug) -> None:
    world = World()
    gateway = world.gateway()
    client = world.client()
    world.dial(client)
    assert world.run(30, until=lambda: bool(gateway.of(events.SessionUp)))
    began, (record,) = world.now, gateway.ladder.sessions()
    gateway.tables.octets[record.index] = (600, 400)
    filters = (FilterRule(FilterAction.DENY),)
    assert gateway.ladder.set_limits(record.handle, replace(limits, rate_up=9, rate_down=8000, filters=filters), world.now)
    entry = gateway.tables.sessions[record.index]
    assert (entry.rate_rx, entry.rate_tx, entry.filters) == (2, 1000, filters)
    assert world.run(200, until=lambda: bool(gateway.of(events.SessionDown)))
    assert world.now - began < seconds
    assert slug in [f.slug for f in failures(gateway)]
    assert not gateway.ladder.set_limits(record.handle, limits, world.now)


def test_traffic_keeps_an_idle_timeout_away() -> None:
    world = World()
    gateway = world.gateway(idle_timeout=60.0)
    client = world.client()
    world.dial(client)
    assert world.run(30, until=lambda: bool(gateway.of(events.SessionUp)))
    index = gateway.ladder.sessions()[0].index
    for count in range(1, 20):
        gateway.tables.carried[index] = (0, count)
        world.run(30)
    assert not gateway.of(events.SessionDown)
