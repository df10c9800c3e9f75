"""``headrace inspect`` and ``headrace explain --log`` at the command line."""

from __future__ import annotations

import gzip
import io
import json
import os
from pathlib import Path
from typing import Any

import pytest
from tests.inspect.kit import VECTORS

from headrace.cli.app import run
from headrace.inspect.pcap import CaptureReader


def headrace(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str, str]:
    code = run([str(word) for word in words])
    out, err = capsys.readouterr()
    assert "Traceback" not in err
    return code, out, err


def lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


CALL = VECTORS / "mppe-refused.pcap"
KEYS = VECTORS / "mppe-refused"


def test_packets_then_ladder(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = headrace(capsys, "inspect", CALL, "--keylog", KEYS)
    assert (code, err) == (0, "")
    assert "main mode 1: AES-256, SHA-256, MODP-2048" in out
    assert "Broke on rung 9 (encryption, packet 39): 742 encryption-refused" in out
    assert "42 packets in" in out


def test_ladder_alone_and_layers_of_each_packet(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = headrace(capsys, "inspect", CALL, "--keylog", KEYS, "--ladder")
    assert code == 0
    assert out.startswith("192.0.2.2:500 calls 192.0.2.1:500")
    code, out, _ = headrace(capsys, "inspect", CALL, "--keylog", KEYS, "--verbose", "--count", "11")
    assert code == 0
    assert "EA  L2TP message" in out
    assert "Host Name" in out


def test_json_is_one_object_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = headrace(capsys, "inspect", CALL, "--keylog", KEYS, "--json")
    assert code == 0
    *packets, conversation, summary = lines(out)
    assert [one["packet"] for one in packets] == list(range(1, 43))
    assert conversation["conversation"]["failure"]["slug"] == "encryption-refused"
    assert summary["summary"]["esp"] == summary["summary"]["opened"] > 0


def test_one_packet_as_boxes_and_as_a_picture(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    code, out, _ = headrace(capsys, "inspect", CALL, "--keylog", KEYS, "--layers", 20, "--svg", tmp_path / "p.svg")
    assert code == 0
    assert "|L2TP header|" in out
    assert "encrypted by ESP" in out
    assert (tmp_path / "p.svg").read_text().startswith("<svg ")
    code, _, err = headrace(capsys, "inspect", CALL, "--layers", 4000)
    assert code == 1
    assert "there is no packet 4000; the capture has 42" in err


@pytest.mark.parametrize(("form", "link", "count"), [("packets", 101, 42), ("ppp", 9, 21), ("user", 101, 0)])
def test_decrypted_capture_is_a_capture(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, form: str, link: int, count: int
) -> None:
    out = tmp_path / "out.pcapng"
    code, text, _ = headrace(capsys, "inspect", CALL, "--keylog", KEYS, "--ladder", "--write", out, "--write-as", form)
    assert code == 0
    assert f"{count} packets written" in text
    found = list(CaptureReader(io.BytesIO(out.read_bytes())))
    assert len(found) == count
    assert {one.link for one in found} <= {link}


def test_capture_that_is_cut_is_told_and_read_so_far(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    cut = tmp_path / "cut.pcap"
    cut.write_bytes(CALL.read_bytes()[:-10])
    code, out, err = headrace(capsys, "inspect", cut, "--ladder")
    assert code == 1
    assert "41 packets in" in out
    assert "the file ends in packet 42" in err
    packed = tmp_path / "packed.pcap.gz"
    packed.write_bytes(gzip.compress(CALL.read_bytes())[:-3000])
    code, out, err = headrace(capsys, "inspect", packed, "--ladder")
    assert code == 1
    assert "packed.pcap.gz: " in err


@pytest.mark.parametrize(
    ("words", "code", "text"),
    [
        ((), 2, "name a capture, or an interface"),
        (("x.pcap", "--interface", "lo"), 2, "name a capture, or an interface"),
        (("x.pcap",), 3, "x.pcap: No such file"),
        (("none.pcap",), 1, "neither pcap nor pcapng"),
        (("call.pcap", "--svg", "x.svg"), 2, "--svg needs --layers"),
        (("call.pcap", "--keylog", "."), 2, "neither esp_sa nor ikev1_decryption_table"),
        (("call.pcap", "--esp-keys", "binary"), 2, "is no table of keys"),
    ],
)
def test_mistakes_are_one_line(
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    words: tuple[str, ...],
    code: int,
    text: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("none.pcap").write_text("this is no capture")
    Path("call.pcap").write_bytes(CALL.read_bytes())
    Path("binary").write_bytes(b"\xff\xfe\x00\x01")
    found, _, err = headrace(capsys, "inspect", *words)
    assert (found, err.count("\n")) == (code, 1)
    assert text in err


def test_key_log_of_another_run_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = headrace(capsys, "inspect", CALL, "--keylog", VECTORS / "cert")
    assert code == 0
    assert "the key log has no key for their SPIs (c" in out


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="needs CAP_NET_RAW")
def test_live_capture_sees_what_is_sent(capsys: pytest.CaptureFixture[str]) -> None:
    import socket
    import threading

    first = next(iter(CaptureReader(io.BytesIO(CALL.read_bytes())))).data[42:]

    def send() -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            for _ in range(20):
                sender.sendto(b"not for us", ("127.0.0.1", 9))
                sender.sendto(first, ("127.0.0.1", 500))
                threading.Event().wait(0.05)

    thread = threading.Thread(target=send)
    thread.start()
    try:
        code, out, _ = headrace(capsys, "inspect", "--interface", "lo", "--count", 3, "--seconds", 10)
    finally:
        thread.join()
    assert code == 0
    assert "main mode 1" in out
    assert "UDP" not in out


def test_no_such_interface(capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = headrace(capsys, "inspect", "--interface", "hr-none-0")
    assert code in {1, 3}
    assert err.count("\n") == 1


LOG = "Connect: ppp0 <-->\nMPPE required but peer refused\nConnection terminated.\n"


def test_explain_log(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "pppd.log"
    path.write_text(LOG)
    code, out, _ = headrace(capsys, "explain", "--log", path)
    assert code == 0
    assert out.startswith("line 2 (pppd): MPPE required but peer refused")
    assert "Windows shows 742" in out
    monkeypatch.setattr("sys.stdin", io.StringIO(LOG))
    code, out, _ = headrace(capsys, "explain", "--log", "-", "--json")
    assert code == 0
    assert json.loads(out)["reason"]["slug"] == "encryption-refused"
    path.write_text("all is well\n")
    code, out, _ = headrace(capsys, "explain", "--log", path)
    assert code == 1
    assert "1 lines, and none tells of a failure" in out


def test_explain_ike_state(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = headrace(capsys, "explain", "13868")
    assert code == 0
    assert "788 OAKLEY_ATTRIB_FAIL" in out
