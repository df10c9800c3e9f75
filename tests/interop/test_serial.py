"""``headrace ppp`` and Debian's pppd over a serial line: the guest's second serial port, without any tunnel."""

from __future__ import annotations

import json
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.interop.guest import HERE, PASSWORD, USER, Guest, Outcome, make_tap
from tests.interop.lab import headrace, secret_file

from headrace.shell.netns import Namespace

OURS, THEIRS = "10.78.0.1", "10.78.0.2"
TAP = "tap9"


def echo(listener: socket.socket) -> None:
    """Give back whatever comes, to each caller by itself: one whose link has gone away is never heard of again."""

    def answer(connection: socket.socket) -> None:
        with connection, suppress(OSError):
            while data := connection.recv(65536):
                connection.sendall(data)

    with suppress(OSError):
        while True:
            threading.Thread(target=answer, args=(listener.accept()[0],), daemon=True).start()


@dataclass
class SerialLab:
    """The guest behind a serial line, and our side of it."""

    namespace: Namespace
    guest: Guest
    shared: Path
    socket: Path
    count: int = 0

    def meet(self, options: str, *arguments: str) -> tuple[Outcome, list[dict[str, Any]], str]:
        """Run pppd with these options against ``headrace ppp`` with these arguments: how the guest's job ended, what ours said, and
        its complaints.
        """
        self.count += 1
        folder = self.shared / f"line-{self.count}"
        job_folder = folder / "job"
        job_folder.mkdir(parents=True)
        (job_folder / "options").write_text(options)
        password = secret_file(folder / "password", PASSWORD)
        with ExitStack() as stack:
            job = self.guest.start(job_folder, "sh /lab/boot/line.sh\n")
            job.await_mark("ready", 60)
            command = headrace("ppp", f"unix:{self.socket}", "--json", "--password-file", password, "--user", USER, *arguments)
            out, err = (stack.enter_context((folder / name).open("w+")) for name in ("ours.json", "ours.err"))
            ours: subprocess.Popen[Any] = self.namespace.popen(command, stdout=out, stderr=err)
            stack.callback(ours.kill)

            def said() -> list[dict[str, Any]]:
                return [json.loads(line) for line in (folder / "ours.json").read_text().splitlines()]

            outcome = job.wait(200)
            with suppress(subprocess.TimeoutExpired):
                ours.wait(15)
            if ours.poll() is None:
                ours.send_signal(signal.SIGINT)
                ours.wait(15)
            return outcome, said(), (folder / "ours.err").read_text()


@pytest.fixture(scope="module")
def line() -> Iterator[SerialLab]:
    with ExitStack() as stack:
        shared = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="headrace-serial-")))
        namespace = stack.enter_context(Namespace("serial"))
        make_tap(namespace, TAP)
        guest = Guest(namespace, shared, TAP, serial=shared / "line")
        stack.callback(guest.off)
        shutil.copy(HERE / "line.sh", shared / "boot" / "line.sh")
        guest.await_boot()
        listener = namespace.call(socket.create_server, ("0.0.0.0", 7))
        stack.callback(listener.close)
        threading.Thread(target=echo, args=(listener,), daemon=True).start()
        yield SerialLab(namespace, guest, shared, shared / "line")


SERVER = ("--server", "--once", "--local", OURS, "--remote", THEIRS)
BASIC = f"user {USER} noauth noipdefault ipcp-accept-local ipcp-accept-remote"


@pytest.mark.parametrize(
    ("options", "arguments", "mppe", "compression"),
    [
        ("require-mppe-128", ("--encryption", "required-128"), "128-bit stateless", "vj"),
        ("require-mppe-128 mppe-stateful", ("--encryption", "required-128", "--mppe-stateful"), "128-bit stateful", "vj"),
        ("require-mppe-40 nomppe-128", ("--encryption", "required", "--mppe-bits", "40"), "40-bit stateless", "vj"),
        (
            "require-mppe-40 nomppe-128 mppe-stateful",
            ("--encryption", "required", "--mppe-bits", "40", "--mppe-stateful"),
            "40-bit stateful",
            "vj",
        ),
        ("require-mppe-128 novj", ("--encryption", "required-128", "--compress", "mppc"), "128-bit stateless", ""),
        ("", ("--compress", "deflate", "--auth", "chap-md5"), "", "deflate, vj"),
        ("deflate 10 novjccomp", ("--compress", "deflate", "--auth", "pap"), "", "deflate, vj"),
        ("nodeflate nobsdcomp nopcomp noaccomp", ("--auth", "eap-md5", "--asyncmap", "a0000"), "", "vj"),
        ("novj nodeflate asyncmap ffffffff", ("--auth", "mschap-v2", "--encryption", "off"), "", ""),
        ("predictor1 bsdcomp 12 nodeflate", ("--compress", "deflate"), "", "vj"),
    ],
    ids=[
        "mppe128-stateless",
        "mppe128-stateful",
        "mppe40-stateless",
        "mppe40-stateful",
        "mppc-refused-under-mppe",
        "deflate-vj-chap-md5",
        "deflate10-vj-slots-named-pap",
        "vj-eap-md5-escapes",
        "plain-all-escaped",
        "predictor-and-bsd-refused",
    ],
)
def test_pppd_calls(line: SerialLab, options: str, arguments: tuple[str, ...], mppe: str, compression: str) -> None:
    """pppd is the client."""
    outcome, said, complaint = line.meet(f"{BASIC} {options}", *SERVER, *arguments)
    assert outcome.code == 0, f"{outcome}\n{outcome.log('pppd.log')}\n{said}\n{complaint}"
    (up,) = [event for event in said if event["event"] == "connected"]
    assert (up["mppe"], up["compression"], up["user"]) == (mppe, compression, USER)
    ended = next(event for event in said if event["event"] == "ended")
    assert ended["rx_packets"] >= 8
    assert {name: n for name, n in ended["drops"].items() if name != "drop_vj_lost"} == {}


@pytest.mark.parametrize(
    ("options", "arguments", "mppe"),
    [
        ("require-mschap-v2 require-mppe-128", ("--encryption", "required-128"), "128-bit stateless"),
        ("require-chap refuse-mschap refuse-mschap-v2", ("--auth", "chap-md5", "--compress", "deflate"), ""),
        ("require-pap", ("--auth", "pap"), ""),
        ("require-eap", ("--auth", "eap-md5"), ""),
    ],
    ids=["mschapv2-mppe128", "chap-md5-deflate", "pap", "eap-md5"],
)
def test_pppd_answers(line: SerialLab, options: str, arguments: tuple[str, ...], mppe: str) -> None:
    """pppd is the server."""
    outcome, said, complaint = line.meet(f"auth {THEIRS}:{OURS} name guest passive {options}", *arguments)
    assert outcome.code == 0, f"{outcome}\n{outcome.log('pppd.log')}\n{said}\n{complaint}"
    (up,) = [event for event in said if event["event"] == "connected"]
    assert (up["mppe"], up["address"], up["peer"]) == (mppe, OURS, THEIRS)


def test_n153_pppd_without_mppe_is_told_742(line: SerialLab) -> None:
    """The layout of Windows in LCP's Terminate-Request; nothing passes."""
    outcome, said, complaint = line.meet(f"{BASIC} nomppe", *SERVER, "--encryption", "required-128")
    assert outcome.code == 13
    assert next(event for event in said if event["event"] == "ended")["slug"] == "encryption-refused"
    assert "error 742" in complaint
    assert "00 00 02 e6" in outcome.log("pppd.log") or "^@^@^BM-f" in outcome.log("pppd.log")


def test_pppd_that_requires_mppe_of_us_without_it_is_741(line: SerialLab) -> None:
    outcome, said, complaint = line.meet(f"{BASIC} require-mppe-128", *SERVER, "--encryption", "off")
    assert outcome.code == 13
    assert next(event for event in said if event["event"] == "ended")["slug"] == "encryption-local"
    assert "error 741" in complaint
