"""Watching a live session: keys over the control socket, packets from the wire."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from tests.shell.site import INNER, Site, headrace, prepare, reason_to_skip

from headrace.errors import HeadraceError
from headrace.inspect import live
from headrace.inspect.pcap import Captured
from headrace.inspect.pcapng import LINK_RAW
from headrace.inspect.watch import ASK_AGAIN, Watch
from headrace.model import IPAddress

LOCAL, REMOTE = "192.0.2.1", "198.51.100.7"


def answer(*spis: int) -> dict[str, Any]:
    row = {"outbound": False, "cipher": "AES_GCM16", "auth": "NONE", "key": "00" * 20, "auth_key": ""}
    return {
        "session": {"session": 1},
        "local": [LOCAL, 4500],
        "remote": [REMOTE, 4500],
        "esp": [{**row, "spi": spi} for spi in spis],
        "mppe": [],
    }


def esp(spi: int) -> Captured:
    body = spi.to_bytes(4, "big") + bytes(40)
    head = bytes([0x45, 0, 0, 20 + len(body), 0, 0, 0, 0, 64, 50, 0, 0]) + ip_address(REMOTE).packed + ip_address(LOCAL).packed
    return Captured(1, 0.0, LINK_RAW, head + body, len(head) + len(body))


def test_keys_are_asked_for_anew_when_none_fits_but_not_for_every_packet() -> None:
    asked = []
    now = [0.0]

    def ask() -> dict[str, Any]:
        asked.append(now[0])
        return answer(0x1000 + len(asked))

    watch = Watch(ask, lambda: now[0])

    def source() -> Iterator[Captured]:
        for at, spi in ((0.1, 0x1002), (0.2, 0x1002), (ASK_AGAIN, 0x1002), (ASK_AGAIN + 0.1, 0x9999), (5.0, 0x1001)):
            now[0] = at
            yield esp(spi)

    found = [packet.layers[-1].detail for packet in watch.packets(source())]
    assert asked == [0.0, ASK_AGAIN]
    assert found[:2] == ["no key for its SPI"] * 2
    assert "does not verify" in found[2]
    assert found[3] == "no key for its SPI"
    assert "does not verify" in found[4]


def test_the_end_of_the_session_ends_the_watch() -> None:
    answers = [answer(0x1000)]

    def ask() -> dict[str, Any]:
        if not answers:
            raise HeadraceError("no session")
        return answers.pop()

    clock = iter(range(0, 1000, 10))
    watch = Watch(ask, lambda: float(next(clock)))
    with pytest.raises(HeadraceError, match="no session"):
        list(watch.packets([esp(0x2000)]))


def machine(program: bytes) -> Callable[[bytes], int]:
    """A small classic BPF machine: just the instructions that the filter has."""
    rows = [
        (
            int.from_bytes(program[at : at + 2], "little"),
            program[at + 2],
            program[at + 3],
            int.from_bytes(program[at + 4 : at + 8], "little"),
        )
        for at in range(0, len(program), 8)
    ]

    def run(data: bytes) -> int:
        a = x = at = 0
        while True:
            code, yes, no, k = rows[at]
            at += 1
            size, start = {0x20: (4, k), 0x28: (2, k), 0x30: (1, k), 0x48: (2, k + x)}.get(code, (0, 0))
            if size:
                if start + size > len(data):
                    return 0
                a = int.from_bytes(data[start : start + size], "big")
            elif code == 0xB1:
                x = 4 * (data[k] & 15)
            elif code == 0x74:
                a >>= k
            elif code in {0x15, 0x45}:
                at += yes if (a == k if code == 0x15 else a & k) else no
            elif code == 0x06:
                return k
            else:
                raise AssertionError(hex(code))

    return run


@pytest.mark.parametrize(
    ("host", "source", "destination", "taken"),
    [
        (REMOTE, REMOTE, LOCAL, True),
        (REMOTE, LOCAL, REMOTE, True),
        (REMOTE, LOCAL, "198.51.100.8", False),
        ("2001:db8::7", "2001:db8::7", "2001:db8::1", True),
        ("2001:db8::7", "2001:db8::1", "2001:db8::7", True),
        ("2001:db8::7", "2001:db8::1", "2001:db8:1::7", False),
        ("2001:db8::7", "2001:db8::1", "2001:db8::8", False),
        ("2001:db8::7", LOCAL, REMOTE, False),
        (REMOTE, "2001:db8::1", "2001:db8::7", False),
    ],
)
def test_only_one_hosts_packets_are_taken(host: str, source: str, destination: str, taken: bool) -> None:
    run = machine(live.program(ip_address(host)))
    ends: list[IPAddress] = [ip_address(source), ip_address(destination)]
    packed = b"".join(end.packed for end in ends)
    four = bytes([0x45, 0, 0, 60, 0, 0, 0, 0, 64, 50, 0, 0]) + packed + bytes(40)
    six = bytes([0x60, 0, 0, 0, 0, 40, 50, 64]) + packed + bytes(40)
    assert bool(run(four if ends[0].version == 4 else six)) is taken


@pytest.mark.root
@pytest.mark.timeout(120)
@pytest.mark.skipif(bool(reason_to_skip()), reason=reason_to_skip() or "-")
def test_a_live_session_with_mppe_is_read_in_the_middle(tmp_path: Path) -> None:
    prepare(tmp_path)
    with ExitStack() as stack:
        site = Site(tmp_path, stack)
        client = site.client()
        site.serve(ppp={"encryption": "required"})
        dial = site.dial(client, "--force-encapsulation")
        dial.wait_for("connected")
        assert client.popen(["ping", "-c20", "-i0.01", INNER], stdout=subprocess.DEVNULL).wait(20) == 0
        command = headrace(
            "watch",
            "alice",
            "--count",
            "6",
            "--json",
            "--write",
            "clear.pcapng",
            "--write-as",
            "user",
            "--socket",
            "control.sock",
        )
        watching = site.gateway.popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        stack.callback(watching.wait, 10)
        stack.callback(watching.terminate)
        assert watching.stderr is not None
        assert "watching session" in watching.stderr.readline()
        time.sleep(0.3)
        assert client.popen(["ping", "-c10", "-i0.05", INNER], stdout=subprocess.DEVNULL).wait(20) == 0
        out, err = watching.communicate(timeout=30)
        packets = [json.loads(line) for line in out.splitlines()]
        assert len(packets) == 6, err
        assert {packet["protocol"] for packet in packets} == {"IPv4"}
        assert all("ICMP" in packet["summary"] for packet in packets)
        assert "6 packets written" in err
        assert (tmp_path / "clear.pcapng").stat().st_size > 6 * 84
        assert "were asked for" in site.log.read_text("utf-8")
        assert dial.hang_up() == 0
