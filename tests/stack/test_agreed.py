"""What the records say of each rung that was passed, on both ends of a simulated call."""

from __future__ import annotations

from tests.stack.harness import INNER, World

from headrace.model import Encryption, Rung
from headrace.ppp.config import LinkConfig
from headrace.stack import events
from headrace.stack.agreed import ladder_of

UP = [
    Rung.PATH, Rung.IKE_PROPOSAL, Rung.IKE_AUTH, Rung.ESP, Rung.L2TP, Rung.LCP, Rung.USER_AUTH, Rung.ENCRYPTION, Rung.NETWORK,
]  # fmt: skip


def test_every_rung_has_a_time_and_what_was_agreed() -> None:
    world = World()
    gateway, client = world.gateway(), world.client()
    world.dial(client)
    assert world.run(30, until=lambda: bool(client.of(events.SessionUp)) and bool(gateway.of(events.SessionUp)))
    for end in (gateway, client):
        (record,) = end.ladder.sessions()
        passed = ladder_of(record.peer, record)
        assert [one.rung for one in passed] == UP
        assert all(one.agreed for one in passed)
        assert all(one.seconds >= 0 for one in passed)
        times = [one.when for one in passed]
        assert times == sorted(times)
        said = {one.rung: one.agreed for one in passed}
        assert said[Rung.IKE_PROPOSAL] == record.peer.ike_proposal
        assert said[Rung.IKE_AUTH].startswith("psk, ")
        assert said[Rung.LCP].startswith("mru ")
        assert said[Rung.USER_AUTH] == "alice, mschap-v2"
        assert said[Rung.ENCRYPTION] == "no MPPE: ESP encrypts"
        assert str(record.remote_address) in said[Rung.NETWORK]


def test_traffic_is_passed_when_packets_have_crossed_both_ways() -> None:
    world = World()
    gateway, client = world.gateway(), world.client()
    world.dial(client)
    assert world.run(30, until=lambda: bool(gateway.of(events.SessionUp)))
    (record,) = gateway.ladder.sessions()
    world.run(15)
    assert Rung.TRAFFIC not in record.rungs
    gateway.tables.carried[record.index] = (3, 2)
    world.run(15)
    assert Rung.TRAFFIC in record.rungs
    assert ladder_of(record.peer, record)[-1].agreed.startswith("packets cross both ways")


def test_a_refusal_knows_how_far_it_came() -> None:
    world = World()
    gateway = world.gateway(link=LinkConfig(server=True, local_address=INNER, encryption=Encryption.REQUIRED_128))
    client = world.client(link=LinkConfig(server=False, encryption=Encryption.OFF))
    world.dial(client)
    assert world.run(60, until=lambda: bool(gateway.of(events.SessionDown)))
    (down,) = gateway.of(events.SessionDown)
    assert isinstance(down, events.SessionDown)
    assert [one.rung for one in ladder_of(down.session.peer, down.session)] == UP[:7]
