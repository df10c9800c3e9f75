"""``headrace ppp``: our server and our client over a pty, each in a namespace; refusals, hang-ups, lines that are none."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from tests.shell.site import Dial, end, headrace, reason_to_skip

from headrace.dataplane.hdlc import HdlcLine
from headrace.dataplane.native import DataPlaneError
from headrace.model import Compression
from headrace.shell import build
from headrace.shell.line import LineError, open_line
from headrace.shell.netns import Namespace

SERVER, CLIENT = "10.77.0.1", "10.77.0.2"

needs_root = pytest.mark.skipif(bool(reason_to_skip()), reason=reason_to_skip() or "-")


def test_frames_to_octets_and_back() -> None:
    line = HdlcLine()
    line.maps(send=0, receive=0)
    frames = [b"\xff\x03\xc0\x21" + bytes(range(40)), b"\xff\x03\x00\x21" + b"\x7e\x7d" * 30]
    octets = line.encode(frames)
    assert octets.startswith(b"\x7e")
    assert line.encode(frames) == octets[1:]  # one flag between frames is enough
    line.idle()
    assert line.encode(frames) == octets
    assert line.encode(frames, escape_all=True) != octets[1:]
    found = []
    for at in range(0, len(octets), 7):
        piece = octets[at : at + 7]
        assert line.decode(piece, 3) == len(piece)
        found += line.batch.packets()
        assert all(int(session) == 3 for session in line.batch.desc["session"][: len(line.batch)])
    assert found == frames
    assert line.stats()["good"] == 2
    assert line.decode(b"\x7e\xff\x03\xc0\x21\x00\x00\x7e", 0) == 8
    assert line.stats()["bad_fcs"] == 1
    with pytest.raises(DataPlaneError):
        HdlcLine(5000)


def test_many_frames_at_once_come_in_turns() -> None:
    line = HdlcLine()
    octets = line.encode([b"\xff\x03\x00\x21" + bytes([n]) * 60 for n in range(200)])
    frames = []
    while octets:
        taken = line.decode(octets, 0)
        frames += line.batch.packets()
        octets = octets[taken:]
    assert [frame[-1] for frame in frames] == list(range(200))


def test_deflate_is_left_out_where_there_is_no_zlib(monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = (Compression.DEFLATE, Compression.MPPC)
    assert build.compression_here(wanted) == wanted
    monkeypatch.setattr(build, "deflate_available", lambda: False)
    assert build.compression_here(wanted) == (Compression.MPPC,)


def test_lines_that_are_none(tmp_path: Path) -> None:
    for where in ("/dev/null", str(tmp_path / "none"), f"unix:{tmp_path}/none", str(tmp_path)):
        with pytest.raises(LineError):
            open_line(where)
    with open_line("pty") as line, pytest.raises(LineError, match="12345"):
        open_line(line.where, speed=12345)


def test_pty_as_a_line() -> None:
    with open_line("pty") as ours, open_line(ours.where) as theirs:
        assert ours.read() == b""
        assert theirs.write(b"\x00\x11\x13\x7e\xff\r\n") == 7
        assert ours.read() == b"\x00\x11\x13\x7e\xff\r\n"
        taken = 0
        while more := theirs.write(bytes(65536)):
            taken += more
        assert taken
        ours.close()
        ours.close()
        time.sleep(0.05)
        assert theirs.read() is None
        assert theirs.write(b"x") == 1


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["pty", "--server", "--local", SERVER], "nobody could come in"),
        (["pty", "--server", "--no-auth"], "needs an address"),
        (["pty", "--user", "x", "--accounts", "a"], "belong together"),
        (["pty", "--user", "x", "--asyncmap", "xyz"], "--asyncmap"),
        (["pty", "--user", "x", "--encryption", "some"], "--encryption"),
    ],
)
def test_command_lines_that_make_no_sense(arguments: list[str], complaint: str) -> None:
    done = subprocess.run(headrace("ppp", *arguments), capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 2
    assert complaint in done.stderr


# --- both ends ---


class Ends:
    """A server that waits on a pty, and clients that open it."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self.folder = folder
        self.stack = stack
        self.there = stack.enter_context(Namespace("server"))
        self.here = stack.enter_context(Namespace("client"))
        for name, text in (("password", "wonderland"), ("wrong", "nonsense")):
            (folder / name).touch(mode=0o600)
            (folder / name).write_text(text)

    def start(self, namespace: Namespace, *arguments: str) -> Dial:
        command = headrace("ppp", *arguments, "--json")
        process = namespace.popen(command, cwd=self.folder, stdout=-1, stderr=-1, text=True)
        self.stack.callback(end, process)
        return Dial(process)

    def serve(self, *arguments: str, who: tuple[str, ...] = ("--user", "alice", "--password-file", "password")) -> Dial:
        server = self.start(self.there, "pty", "--server", "--local", SERVER, "--remote", CLIENT, *who, *arguments)
        self.line = server.wait_for("line")["line"]
        return server

    def call(self, *arguments: str, password: str = "password") -> Dial:
        return self.start(self.here, self.line, "--user", "alice", "--password-file", password, *arguments)


@pytest.fixture
def ends(tmp_path: Path) -> Iterator[Ends]:
    with ExitStack() as stack:
        yield Ends(tmp_path, stack)


@needs_root
@pytest.mark.root
@pytest.mark.timeout(90)
@pytest.mark.parametrize(
    ("both", "expected"),
    [
        (("--encryption", "required-128", "--mppe-stateful", "--compress", "mppc"), ("128-bit stateful", "mppc, vj")),
        (("--encryption", "required", "--mppe-bits", "40", "--no-header-compression"), ("40-bit stateless", "")),
        (("--compress", "deflate", "--auth", "chap-md5", "--asyncmap", "a0000"), ("", "deflate, vj")),
    ],
    ids=["mppc-mppe-128-stateful-vj", "mppe-40-stateless", "deflate-vj"],
)
def test_two_ends_of_a_line(ends: Ends, both: tuple[str, ...], expected: tuple[str, str]) -> None:
    server = ends.serve("--once", *both)
    client = ends.call(*both)
    up = client.wait_for("connected")
    there = server.wait_for("connected")
    assert (up["mppe"], up["compression"]) == (there["mppe"], there["compression"]) == expected
    assert (up["address"], up["peer"], there["user"]) == (CLIENT, SERVER, "alice")
    text = "how now brown cow " * 3000
    assert transfer(ends, text) == text
    last = ended(client)
    assert last["rx_packets"] > 20
    assert last["drops"] == {}
    assert last["frames"]["bad_fcs"] == 0
    assert server.process.wait(20) == 0


def ended(client: Dial) -> dict[str, Any]:
    client.process.send_signal(signal.SIGINT)
    code, complaint = client.finish()
    assert code == 0, complaint
    return client.event("ended")


def transfer(ends: Ends, text: str) -> str:
    """Over TCP through the link, and what came back."""
    script = (
        "import socket,sys; s=socket.create_server((sys.argv[1],7)); print('ready',flush=True); c,_=s.accept()\n"
        "while d:=c.recv(65536): c.sendall(d)"
    )
    server = ends.there.popen([headrace()[0], "-c", script, SERVER], stdout=-1, text=True)
    ends.stack.callback(end, server)
    assert server.stdout is not None
    assert server.stdout.readline() == "ready\n"
    script = (
        "import socket,sys,threading; s=socket.create_connection((sys.argv[1],7)); t=sys.stdin.read().encode()\n"
        "threading.Thread(target=lambda:(s.sendall(t),s.shutdown(1))).start()\n"
        "while d:=s.recv(65536): sys.stdout.write(d.decode())"
    )
    client = ends.here.popen([headrace()[0], "-c", script, SERVER], stdin=-1, stdout=-1, text=True)
    ends.stack.callback(end, client)
    back: str = client.communicate(text, timeout=40)[0]
    return back


@needs_root
@pytest.mark.root
@pytest.mark.timeout(90)
def test_refusals_have_their_numbers_and_the_server_waits_for_the_next(ends: Ends) -> None:
    server = ends.serve("--encryption", "required-128")
    client = ends.call("--encryption", "off")
    code, complaint = client.finish()
    assert code == 1
    assert "error 742" in complaint
    assert server.wait_for("ended")["slug"] == "encryption-refused"
    code, complaint = ends.call(password="wrong").finish()
    assert code == 1
    assert "error 691" in complaint
    client = ends.call("--ping", SERVER, "--ping-count", "2")
    code, complaint = client.finish()
    assert code == 0, complaint
    assert client.event("ping")["received"] == 2
    server.process.send_signal(signal.SIGINT)
    assert server.finish()[0] == 0


@needs_root
@pytest.mark.root
@pytest.mark.timeout(60)
def test_noise_on_the_line_disturbs_nothing_but_itself(ends: Ends) -> None:
    server = ends.serve("--no-auth", who=())
    noise = threading.Event()

    def make_noise() -> None:
        with open_line(ends.line) as line:
            while not noise.is_set():
                line.write(b"\x7e" + os.urandom(20) + b"\x7e")
                line.read()
                time.sleep(0.05)

    thread = threading.Thread(target=make_noise)
    thread.start()
    time.sleep(0.5)
    noise.set()
    thread.join()
    client = ends.start(ends.here, ends.line, "--ping", SERVER, "--ping-count", "3")
    code, complaint = client.finish()
    assert code == 0, complaint
    assert server.wait_for("ended")["frames"]["good"] > 3
    assert json.dumps(server.events)


@needs_root
@pytest.mark.root
@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    "server", [("--server", "--no-auth", "--local", SERVER), ("--user", "alice", "--password-file", "password")]
)
def test_line_that_hangs_up_ends_it(ends: Ends, server: tuple[str, ...]) -> None:
    with socket.socket(socket.AF_UNIX) as port:
        port.bind(str(ends.folder / "port"))
        port.listen()
        ours = ends.start(ends.there, f"unix:{ends.folder}/port", *server)
        port.accept()[0].close()
    code, complaint = ours.finish()
    assert code == 1
    assert "has hung up" in complaint


@needs_root
@pytest.mark.root
@pytest.mark.timeout(60)
def test_silence_is_no_link(ends: Ends) -> None:
    with open_line("pty") as line:
        client = ends.start(ends.here, line.where, "--user", "alice", "--password-file", "password", "--timeout", "1")
        code, complaint = client.finish()
    assert code == 1
    assert "lcp-timeout" in complaint
