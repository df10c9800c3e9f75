"""A changed configuration under live sessions: taken over whole or not at all."""

from __future__ import annotations

import re
import signal
import subprocess
from contextlib import ExitStack
from dataclasses import fields, replace
from ipaddress import IPv4Address
from pathlib import Path

import pytest
from tests.shell.site import CONFIG, INNER, Site, headrace, prepare, reason_to_skip, toml, wait

from headrace.access.pools import Pools, PoolSpec, parse_range
from headrace.shell.config import GatewayConfig, PppSection
from headrace.shell.reload import AT_START, merge


def spec(name: str, *ranges: str) -> PoolSpec:
    return PoolSpec(name, tuple(parse_range(text) for text in ranges))


def test_keys_that_wait_are_keys() -> None:
    for section, names in AT_START.items():
        known = {field.name for field in fields(getattr(GatewayConfig(), section))}
        assert set(names or ()) <= known, section


def test_what_waits_is_kept_and_named() -> None:
    old = GatewayConfig()
    new = replace(
        old,
        gateway=replace(old.gateway, workers=4, listen=(IPv4Address("192.0.2.9"),)),
        ppp=PppSection(mru=1300),
        metrics=replace(old.metrics, listen=None),
        warnings=("one",),
    )
    merged, waiting = merge(old, new)
    assert waiting == ("gateway.listen", "gateway.workers")
    assert merged.gateway == old.gateway
    assert merged.ppp.mru == 1300
    assert merged.warnings == ("one",)
    assert merge(old, old) == (old, ())


def test_n210_pools_change_under_their_leases() -> None:
    pools = Pools([spec("a", "10.0.0.1-10.0.0.4")], reserved={IPv4Address("10.0.0.1")})
    first, second = pools.lease("s1", user="x"), pools.lease("s2", user="y")
    assert (str(first), str(second)) == ("10.0.0.2", "10.0.0.3")
    pools.change([spec("b", "10.0.0.1-10.0.0.3", "10.1.0.1-10.1.0.1")])
    assert pools.usage() == {"b": (3, 4)}
    assert str(pools.lease("s3", user="z")) == "10.1.0.1"
    pools.release("s1")
    assert str(pools.lease("s4", user="w")) == "10.0.0.2"
    pools.change([spec("c", "10.9.0.1-10.9.0.2")])
    pools.release("s2")
    assert pools.usage() == {"c": (0, 2)}
    assert str(pools.lease("s5", user="x")) == "10.9.0.1"


@pytest.mark.root
@pytest.mark.timeout(120)
@pytest.mark.skipif(bool(reason_to_skip()), reason=reason_to_skip() or "-")
def test_n209_reload_loses_no_session(tmp_path: Path) -> None:
    prepare(tmp_path)
    with ExitStack() as stack:
        site = Site(tmp_path, stack)
        client = site.client()
        process = site.serve()
        dial = site.dial(client)
        connected = dial.wait_for("connected")
        path = tmp_path / "gateway.toml"
        good = path.read_text("utf-8")

        path.write_text(good.replace("[ppp]", "[ppp]\nmru = 1"), "utf-8")
        done = subprocess.run(
            headrace("reload", "--socket", "control.sock"),
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        assert done.returncode == 1
        assert re.search(r"gateway\.toml:\d+: ppp\.mru", done.stderr)
        process.send_signal(signal.SIGHUP)
        site.logged("not reloaded: ")
        assert [s["user"] for s in site.control("sessions", "--socket", "control.sock")] == ["alice"]

        pool = {"network.pools": {"pool": ["10.98.0.2-10.98.0.9"]}}
        sections = {
            **CONFIG,
            **pool,
            "ike": {**CONFIG["ike"], "psk_file": "wrong-psk"},
            "gateway": {**CONFIG["gateway"], "workers": 2},
        }
        path.write_text(toml(sections), "utf-8")
        assert site.control("reload") == {"reloaded": True, "at_next_start": ["gateway.workers"]}
        site.logged("reloaded; from the next start on: gateway.workers")

        assert client.popen(["ping", "-c1", "-W2", INNER], stdout=subprocess.DEVNULL).wait(10) == 0
        other = site.client()
        code, complaint = site.dial(other, "--timeout", "5", user="bob").finish()
        assert (code, "789" in complaint) == (1, True)
        second = site.dial(other, user="bob", psk="wrong-psk").wait_for("connected")
        assert (connected["address"], second["address"]) == ("10.99.0.2", "10.98.0.2")
        assert dial.hang_up() == 0
        wait(lambda: [s["user"] for s in site.control("sessions")] == ["bob"], 10)
