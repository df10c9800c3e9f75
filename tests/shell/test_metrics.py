"""Metrics as Prometheus scrapes them, and the words for the service manager."""

from __future__ import annotations

import asyncio
import re
import socket
import urllib.request
from collections.abc import Callable
from ipaddress import ip_address
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from headrace.dataplane.native import STATUS
from headrace.errors import ConfigError, Slug
from headrace.model import Endpoint, Failure, Rung
from headrace.shell import events as out
from headrace.shell.metrics import Metrics, MetricsServer, Snapshot
from headrace.shell.notify import notify, reloading, watchdog_interval

REMOTE = Endpoint.of("198.51.100.7", 4500)
LOCAL = Endpoint.of("192.0.2.1", 4500)
NOW = Snapshot(
    since=1e9,
    version="1",
    kernels="avx512",
    policy="compatible",
    peers=2,
    sessions=1,
    max_sessions=100,
    pools={"clients": (1, 253)},
    packets={"ok": (1000, 64000), "drop_esp_auth": (2, 200)},
    control_drops={"ike_malformed": 3},
    certificate_until=2e9,
)
SESSION = out.SessionRecord(
    session=1,
    peer=1,
    user="alice",
    outer=REMOTE,
    gateway=LOCAL,
    machine_auth="psk",
    user_auth="mschap-v2",
    rungs={"esp": 0.02, "lcp": 0.3},
    rx_bytes=700,
    tx_bytes=50,
)


def scrape(work: Callable[[Metrics], None]) -> dict[str, float]:
    """Every sample over HTTP, as ``name{label=value}``."""

    async def ask() -> Snapshot:
        return NOW

    async def body() -> str:
        metrics = Metrics(ask)
        work(metrics)
        with MetricsServer(metrics, Endpoint.of("127.0.0.1", 0)) as server:
            page = f"http://127.0.0.1:{server.port}/metrics"
            return await asyncio.to_thread(lambda: urllib.request.urlopen(page, timeout=10).read().decode())

    samples = {}
    for family in text_string_to_metric_families(asyncio.run(body())):
        assert family.name.startswith("headrace_")
        assert family.documentation.endswith(".")
        for sample in family.samples:
            labels = ",".join(f"{key}={value}" for key, value in sorted(sample.labels.items()))
            samples[f"{sample.name}{{{labels}}}"] = sample.value
    return samples


def test_how_things_are() -> None:
    samples = scrape(lambda _: None)
    assert samples["headrace_build_info{kernels=avx512,policy=compatible,version=1}"] == 1
    assert samples["headrace_sessions{}"] == 1
    assert samples["headrace_pool_addresses_used{pool=clients}"] == 1
    assert samples["headrace_pool_addresses{pool=clients}"] == 253
    assert samples["headrace_packets_total{status=drop_esp_auth}"] == 2
    assert samples["headrace_packet_octets_total{status=ok}"] == 64000
    assert samples["headrace_control_drops_total{reason=ike_malformed}"] == 3
    assert samples["headrace_certificate_expiry_timestamp_seconds{}"] == 2e9


def test_what_happened() -> None:
    def work(metrics: Metrics) -> None:
        metrics.observe(out.SessionUp(time=0, session=SESSION))
        metrics.observe(out.SessionDown(time=0, session=SESSION, failure=Failure(Slug.ECHO_LOST, "silent"), by_peer=False))
        for detail in ("a", "b"):
            failure = Failure(Slug.PSK_MISMATCH, detail)
            metrics.observe(out.Refused(time=0, remote=REMOTE, rung=Rung.IKE_AUTH, failure=failure, user="x" * 1000))
        metrics.observe(out.Notice(time=0, text="nothing to count"))

    samples = scrape(work)
    assert samples["headrace_sessions_started_total{machine_auth=psk,user_auth=mschap-v2}"] == 1
    assert samples["headrace_sessions_ended_total{reason=echo-lost}"] == 1
    assert samples["headrace_session_octets_total{direction=in}"] == 700
    assert samples["headrace_refusals_total{ras=789,reason=psk-mismatch,rung=ike-auth}"] == 2
    assert samples["headrace_rung_seconds_count{rung=lcp}"] == 1
    assert samples["headrace_rung_seconds_bucket{le=0.25,rung=lcp}"] == 0
    assert samples["headrace_rung_seconds_bucket{le=0.5,rung=lcp}"] == 1
    assert not [name for name in samples if "xxx" in name or "alice" in name]


def test_a_port_that_is_taken_is_named() -> None:
    async def body() -> None:
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            port = taken.getsockname()[1]
            with pytest.raises(ConfigError, match=rf"metrics.listen: 127\.0\.0\.1:{port}"):
                MetricsServer(Metrics(lambda: asyncio.sleep(0, NOW)), Endpoint(ip_address("127.0.0.1"), port))

    asyncio.run(body())


CONTRIB = Path(__file__).parents[2] / "contrib"


@pytest.mark.parametrize("name", ["prometheus/headrace.rules.yml", "grafana/headrace.json"])
def test_dashboard_and_alerts_name_what_there_is(name: str) -> None:
    def work(metrics: Metrics) -> None:
        metrics.observe(out.SessionUp(time=0, session=SESSION))
        metrics.observe(out.SessionDown(time=0, session=SESSION, failure=Failure(Slug.ECHO_LOST, ""), by_peer=False))
        metrics.observe(out.Refused(time=0, remote=REMOTE, rung=Rung.LCP, failure=Failure(Slug.LCP_TIMEOUT, "")))

    known = {sample.partition("{")[0] for sample in scrape(work)}
    text = (CONTRIB / name).read_text("utf-8")
    assert set(re.findall(r"headrace_[a-z_]+", text)) - known == set()
    statuses = re.findall(r'status=~\\?"([a-z_|]+)\\?"', text)
    assert {status for found in statuses for status in found.split("|")} <= set(STATUS.values())


# --- the service manager ----------------------------------------------------------------------------------------------


def test_nobody_to_tell(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    assert not notify(READY=1)
    for wrong in ("relative", str(tmp_path / "absent")):
        monkeypatch.setenv("NOTIFY_SOCKET", wrong)
        assert not notify(READY=1)


@pytest.mark.parametrize("abstract", [False, True])
def test_words_for_the_service_manager(abstract: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    name = f"@headrace-test-{tmp_path.name}" if abstract else str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind("\0" + name[1:] if abstract else name)
        manager.settimeout(5)
        monkeypatch.setenv("NOTIFY_SOCKET", name)
        assert notify(READY=1, STATUS="two\nlines")
        assert manager.recv(4096) == b"READY=1\nSTATUS=two lines"
        assert reloading()
        words = dict(line.split("=") for line in manager.recv(4096).decode().splitlines())
        assert words["RELOADING"] == "1"
        assert int(words["MONOTONIC_USEC"]) > 0


@pytest.mark.parametrize(
    ("variables", "seconds"),
    [
        ({}, 0.0),
        ({"WATCHDOG_USEC": "30000000"}, 15.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}, 0.0),
        ({"WATCHDOG_USEC": "x"}, 0.0),
    ],
)
def test_watchdog(variables: dict[str, str], seconds: float, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("WATCHDOG_USEC", "WATCHDOG_PID"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert watchdog_interval() == seconds
