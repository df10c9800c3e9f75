"""Several clients at once, behind NATs, with equal inner addresses and ports."""

from __future__ import annotations

from tests.interop.guest import NATTED_CLIENTS, Job
from tests.interop.lab import Gateway, Scenario, wait_for

TIMEOUT = 200


def await_all_up(job: Job, gateway: Gateway, names: list[str]) -> None:
    for name in names:
        job.await_mark(f"{name}.up", TIMEOUT)
    assert gateway.running


def test_behind_nats(scenario: Scenario) -> None:
    """Three clients with the address 192.168.1.2, each behind its own router, all behind one more NAT, up at the same time."""
    gateway = scenario.gateway()
    names = ["c1", "c2", "c3"]
    job = scenario.start(NATTED_CLIENTS, CLIENTS=" ".join(names), BARRIER="yes")
    await_all_up(job, gateway, names)
    sessions = gateway.ask("sessions")
    assert {session["user"] for session in sessions} == set(names)
    assert {session["outer"].rpartition(":")[0] for session in sessions} == {"192.0.2.2"}
    assert len({session["outer"] for session in sessions}) == len({session["inner"] for session in sessions}) == 3
    assert all(session["nat"] == "client" and session["rx_packets"] >= 7 for session in sessions)
    job.tell("go")
    outcome = job.wait(TIMEOUT)
    assert outcome.code == 0, outcome
    wait_for(lambda: len(gateway.lines("session-down")) == 3, "the end of all sessions")
    assert scenario.capture.closed() == []
    scenario.note = f"{len(sessions)} sessions from one outer address: " + ", ".join(
        sorted(session["outer"] for session in sessions)
    )


def test_pool_empty(scenario: Scenario) -> None:
    """Two clients, one address: the second is refused, the first stays."""
    gateway = scenario.gateway(network={"pools": {"clients": ["10.99.0.10-10.99.0.10"]}})
    job = scenario.start(NATTED_CLIENTS, CLIENTS="c1 c2", BARRIER="yes", STAGGER="8")
    job.await_mark("c1.up", TIMEOUT)
    line = gateway.refused()
    assert line.slug == "pool-empty" and line.user == "c2"
    assert [session["user"] for session in gateway.ask("sessions")] == ["c1"]
    job.tell("go")
    outcome = job.wait(TIMEOUT)
    assert outcome.code == 13, outcome
    assert any(text.startswith("c1 rc=0") for text in outcome.lines), outcome


def test_one_account(scenario: Scenario) -> None:
    """Two clients with one account, up at the same time; each has an address of its own."""
    gateway = scenario.gateway()
    job = scenario.start(NATTED_CLIENTS, CLIENTS="c1 c2", ACCOUNT="alice", BARRIER="yes")
    await_all_up(job, gateway, ["c1", "c2"])
    sessions = gateway.ask("sessions")
    assert [session["user"] for session in sessions] == ["alice", "alice"]
    assert len({session["inner"] for session in sessions}) == 2
    job.tell("go")
    outcome = job.wait(TIMEOUT)
    assert outcome.code == 0, outcome
    scenario.note = "alice twice, from " + ", ".join(sorted(session["outer"] for session in sessions))


def test_one_account_one_session(scenario: Scenario) -> None:
    """Two clients with an account that may have one session: the second is refused, the first stays."""
    gateway = scenario.gateway()
    job = scenario.start(NATTED_CLIENTS, CLIENTS="c1 c2", ACCOUNT="solo", BARRIER="yes", STAGGER="8")
    job.await_mark("c1.up", TIMEOUT)
    line = gateway.refused()
    assert (line.ras, line.slug, line.user) == ("649", "user-limit", "solo")
    assert len(gateway.ask("sessions")) == 1
    job.tell("go")
    outcome = job.wait(TIMEOUT)
    assert outcome.code == 13, outcome
    assert any(text.startswith("c1 rc=0") for text in outcome.lines), outcome
    assert "E=649" in outcome.log("c2.pppd.log")
