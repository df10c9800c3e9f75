"""What the tunnels' benchmark makes of what it measured; nothing is measured here."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING, Any

import pytest

from headrace.bench import tunnel, tunnel_report
from headrace.bench.native import SOURCES, compiler
from headrace.bench.stage import Stage, Transfer, machine_seconds

if TYPE_CHECKING:
    from pathlib import Path


def _row(implementation: str, transform: str, gbit: float, direction: str = "tcp", **more: Any) -> dict[str, Any]:
    size = 1400 if direction == "udp" else "stream"
    fixed = {"suite": "tunnel", "size": size, "batch": 1, "min": gbit - 0.1, "max": gbit + 0.1, "gbit_per_cpu_s": gbit / 2}
    return fixed | {"implementation": implementation, "transform": transform, "direction": direction, "gbit_per_s": gbit} | more


ROWS = [
    _row("veth", "none", 14.0, idle_us=30.0, loaded_us=40.0),
    _row("forwarder-gso", "none", 8.0),
    _row("forwarder", "none, recvmmsg", 3.0),
    _row("forwarder", "none, one a call", 2.8),
    _row("openvpn", "AES-256-GCM", 0.5, "udp", loss=0.0),
    _row("strongswan-libipsec", "aes128gcm16", 0.7),
    _row("headrace", "aes128gcm16", 6.0, idle_us=130.0, loaded_us=500.0),
    _row("headrace", "aes128gcm16", 0.9, "udp", loss=0.0004),
    _row("headrace", "aes128gcm16, raw", 4.0),
]
FIGURES = {
    "machine": {
        "processor": "P",
        "processors": 2,
        "system": "Linux",
        "load": 0.1,
        "headrace": "0",
        "level": "avx2",
        "peers": {"openvpn": "2.6"},
        "missing": {"wireguard-go": "not installed"},
    },
    "rows": ROWS,
    "bars": tunnel.bars(ROWS),
}


def test_bars_are_ratios_of_rows_that_are_there() -> None:
    found = {item["what"]: item for item in tunnel.bars(ROWS)}
    assert found["TCP aes128gcm16 in UDP : forwarder-gso"] == {
        "what": "TCP aes128gcm16 in UDP : forwarder-gso",
        "value": 0.75,
        "bar": 0.6,
        "met": True,
    }
    assert found["TCP aes128gcm16 raw ESP : forwarder, recvmmsg"]["met"]
    assert found["UDP 1400 octets : openvpn"]["value"] == pytest.approx(1.8)
    assert not found["UDP 1400 octets : openvpn"]["met"]
    assert found["idle latency added each way, microseconds"]["value"] == 50.0
    assert "TCP aes128-sha1 in UDP : forwarder-gso" not in found
    assert tunnel.bars([]) == []


def test_table_and_bars_name_every_row() -> None:
    assert len(tunnel_report.table(FIGURES)) == len(ROWS)
    assert all(len(cells) == len(tunnel_report.COLUMNS) for cells in tunnel_report.table(FIGURES))
    assert {cells[-1] for cells in tunnel_report.bar_table(FIGURES)} == {"met", "missed"}
    text = "\n".join(tunnel_report.terminal(FIGURES, width=90))
    assert text.count("headrace") == 3
    assert "█" in text
    assert dict(tunnel_report.heading(FIGURES))["not measured"] == "wireguard-go: not installed"


def test_pictures_are_written(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    written = tunnel_report.files(FIGURES, tmp_path / "plots")
    assert sorted(path.name for path in written) == ["tunnel.png", "tunnel.svg"]
    assert all(path.stat().st_size > 1000 for path in written)


class _Tunnel(Stage):
    """Carries so much; what is sent beyond it is lost."""

    carries = 2.0
    sends = 5.0

    def __init__(self) -> None:
        self.tried: list[float] = []

    def transfer(self, address: str, seconds: float, *options: str) -> Transfer:
        """Pretend."""
        del address, seconds
        wanted = float(options[-1]) / 1e9 or self.sends
        sent = min(wanted, self.sends)
        self.tried.append(wanted)
        return Transfer(min(sent, self.carries), 1.0, max(0.0, 1 - self.carries / sent))


def test_rate_search_finds_what_a_tunnel_carries() -> None:
    stage = _Tunnel()
    found = stage.udp("192.0.2.1", 1400, steps=8)
    assert 1.9 < found.gbit <= 2.0
    assert found.loss <= 0.001


def test_rate_search_stops_where_the_sender_cannot_do_more() -> None:
    stage = _Tunnel()
    stage.carries = 9.0
    assert stage.udp("192.0.2.1", 1400, steps=8).gbit == 5.0
    assert len(stage.tried) == 1


def test_what_is_measured_can_be_chosen() -> None:
    quick, whole = tunnel.plan(quick=True), tunnel.plan(quick=False)
    assert set(quick.variants) < set(whole.variants)
    assert {variant.transform for variant in whole.variants} >= {"aes128gcm16", "aes128-sha1", "aes128gcm16, raw"}


def test_forwarder_compiles_and_says_how_it_is_used(tmp_path: Path) -> None:
    program = tmp_path / "forward"
    flags = ["-std=gnu11", "-O1", "-Wall", "-Wextra", "-Werror", "-pthread"]
    subprocess.run([compiler(), *flags, str(SOURCES / "forward.c"), "-o", str(program)], check=True)
    said = subprocess.run([str(program)], capture_output=True, text=True, check=False)
    assert said.returncode == 2
    assert "one|mmsg|gso" in said.stderr


def test_processor_time_of_the_machine_only_grows() -> None:
    first = machine_seconds()
    assert machine_seconds() >= first > 0
