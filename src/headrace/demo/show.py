"""What ``headrace demo`` does, step by step: namespaces, certificates, accounts, gateway, client, ping, bulk transfer, one packet, figures.

Everything is done with headrace's own commands, as a user would type them; nothing of this machine's network is touched, and nothing
is left behind.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from headrace.errors import HeadraceError
from headrace.inspect.dissect import Dissector
from headrace.inspect.draw import boxes, table
from headrace.inspect.keys import Keys, read_esp
from headrace.inspect.pcap import Captured
from headrace.inspect.pcapng import LINK_RAW
from headrace.shell.netns import Namespace, NamespaceError, become_root_in_user_namespace, namespaces, veth

GATEWAY: Final = "192.0.2.1"
CLIENT: Final = "192.0.2.2"
INNER: Final = "10.99.0.1"
USER: Final = "alice"
NAME: Final = "vpn.example.net"
SECONDS: Final = 4.0
"""Of each bulk transfer."""

CONFIG: Final = f"""\
[gateway]
name = "demo"
listen = ["{GATEWAY}"]
state_dir = "state"
control_socket = "control.sock"

[log]
keylog_dir = "keys"

[ike]
auth = ["cert"]
certificate = "gateway/gateway.crt"
private_key = "gateway/gateway.key"
ca = ["gateway/ca.crt"]

[ppp]
encryption = "required-128"

[network]
address = "{INNER}"
dns = ["{INNER}"]

[network.pools]
demo = ["10.99.0.2-10.99.0.254"]

[accounts]
database = "accounts.db"
key_file = "accounts.key"
"""


class DemoError(HeadraceError):
    """A step of the demo did not work; the message has what was seen."""


def run() -> int:
    """Run the demo. The exit code: 0 when every step worked."""
    try:
        if os.geteuid() != 0:
            become_root_in_user_namespace()
        with ExitStack() as stack:
            Demo(stack).run()
    except (DemoError, NamespaceError) as error:
        print(f"demo: {error}", file=sys.stderr)
        return 1
    return 0


@dataclass(frozen=True, slots=True)
class Transfer:
    """A bulk transfer's outcome."""

    octets: int
    seconds: float

    @property
    def rate(self) -> float:
        """Gigabits a second."""
        return self.octets * 8 / self.seconds / 1e9


class Demo:
    """The steps. Everything that must be taken back is on ``stack``."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack
        self._began = time.monotonic()

    def run(self) -> None:
        """All steps in order."""
        self._say("A gateway and a client on this machine, in two network namespaces joined by a virtual cable.")
        directory = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="headrace-demo-")))
        directory.chmod(0o700)
        gateway, client = self._stack.enter_context(namespaces("gateway", "client"))
        veth(gateway, "wan", client, "wan")
        gateway.address("wan", GATEWAY, 24)
        client.address("wan", CLIENT, 24)
        self._material(directory)
        log = self._serve(gateway, directory)
        sniffer = gateway.call(_sniffer, "wan")
        self._stack.callback(sniffer.close)
        bare = _transfer(gateway, client, GATEWAY)
        self._say(f"Bulk transfer over the bare cable, for comparison: {bare.rate:.2f} Gbit/s.")
        dial, session = self._dial(client, directory)
        self._ping(client, session)
        sniffed = _drain(sniffer)
        tunnel = _transfer(gateway, client, INNER)
        self._say(
            f"Bulk transfer through the tunnel, one TCP connection: {tunnel.rate:.2f} Gbit/s "
            f"({tunnel.octets / 1e6:.0f} MB in {tunnel.seconds:.1f} s, both ends on this machine)."
        )
        self._packet(sniffed + _drain(sniffer), directory)
        self._sessions(directory)
        self._hang_up(dial, log)
        self._figures(session, bare, tunnel)

    # --- steps ----------------------------------------------------------------------------------------------------------------

    def _material(self, directory: Path) -> None:
        headrace = _command()
        (directory / "gateway.toml").write_text(CONFIG, "utf-8")
        password = directory / "password"
        password.touch(mode=0o600)
        password.write_text("correct horse battery staple", "utf-8")
        steps = (
            ["pki", "init", "--dir", "ca", "--name", "Demo CA"],
            ["pki", "issue", "--dir", "ca", "--gateway", "--dns", NAME, "--ip", GATEWAY, "--out", "gateway"],
            ["pki", "issue", "--dir", "ca", "laptop", "--out", "laptop"],
            ["account", "add", USER, "--password-file", "password", "--config", "gateway.toml"],
        )
        for step in steps:
            _must([*headrace, *step], directory)
        self._say(f"Made a CA, computer certificates for gateway and client, and the account {USER}.")

    def _serve(self, gateway: Namespace, directory: Path) -> Path:
        log = directory / "gateway.log"
        with log.open("wb") as out:
            process = gateway.popen([*_command(), "serve", "--config", "gateway.toml"], cwd=directory, stdout=out, stderr=out)
        self._stack.callback(_end, process)
        _wait_for(lambda: b"started headrace" in log.read_bytes(), process, log, 20)
        self._say("`headrace serve` runs: certificates for the machines, MS-CHAPv2 for the user, MPPE-128 required.")
        return log

    def _dial(self, client: Namespace, directory: Path) -> tuple[subprocess.Popen[Any], dict[str, Any]]:
        lines = directory / "dial.jsonl"
        complaints = directory / "dial.err"
        command = [
            *_command(),
            "dial",
            GATEWAY,
            "--user",
            USER,
            "--password-file",
            "password",
            "--ca",
            "laptop/ca.crt",
            "--json",
        ]
        command += ["--certificate", "laptop/laptop.crt", "--private-key", "laptop/laptop.key", "--encryption", "required-128"]
        with lines.open("wb") as out, complaints.open("wb") as err:
            process = client.popen(command, cwd=directory, stdout=out, stderr=err)
        self._stack.callback(_end, process)
        _wait_for(lambda: b'"connected"' in lines.read_bytes(), process, complaints, 35)
        told = [json.loads(line) for line in lines.read_text("utf-8").splitlines()]
        connected: dict[str, Any] = next(item for item in told if item["event"] == "connected")
        record = connected["session"]
        self._say(
            f"`headrace dial` is connected after {connected['after']:.2f} s: IKE {record['ike']}, ESP {record['esp']}, "
            f"user {USER} by {record['user_auth']}, MPPE {record['mppe']}, inner address {connected['address']}, MTU {record['mtu']}."
        )
        return process, connected

    def _ping(self, client: Namespace, session: dict[str, Any]) -> None:
        code = (
            "import asyncio, json, sys; from ipaddress import ip_address; from headrace.shell.ping import ping; "
            "r = asyncio.run(ping(ip_address(sys.argv[1]), ip_address(sys.argv[2]), count=5, size=1372)); "
            "print(json.dumps([r.sent, r.received, *r.times]))"
        )
        done = client.run([sys.executable, "-c", code, session["address"], INNER], check=False)
        if done.returncode:
            raise DemoError(f"ping did not run: {done.stderr.strip()}")
        sent, received, *times = json.loads(done.stdout)
        if received != sent:
            raise DemoError(f"ping through the tunnel: only {received} of {sent} answered")
        self._say(
            f"Ping through the tunnel, 1400-octet packets: {received} of {sent} answered, {min(times) * 1000:.2f} ms at best."
        )

    def _packet(self, packets: list[bytes], directory: Path) -> None:
        keys = Keys()
        read_esp(directory / "keys" / "esp_sa", keys)
        dissector = Dissector(keys)
        seen = [
            dissector.feed(Captured(number, 0.0, LINK_RAW, octets, len(octets))) for number, octets in enumerate(packets, 1)
        ]
        best = max((one for one in seen if any(layer.mppe for layer in one.layers)), key=lambda one: one.length, default=None)
        if best is None:
            raise DemoError("no data packet of the tunnel was seen on the wire")
        self._say(f"One packet as captured on the cable, {best.length} octets, opened with the session's keys:")
        print(boxes(best.layers))
        print(table(best.layers))
        print(flush=True)

    def _sessions(self, directory: Path) -> None:
        done = _must([*_command(), "sessions", "--config", "gateway.toml", "--json"], directory)
        sessions = json.loads(done)
        if len(sessions) != 1 or sessions[0]["user"] != USER:
            raise DemoError(f"`headrace sessions` says {done}")

    def _hang_up(self, dial: subprocess.Popen[Any], log: Path) -> None:
        dial.send_signal(signal.SIGINT)
        if dial.wait(10) != 0:
            raise DemoError(f"the client ended with code {dial.returncode}")
        deadline = time.monotonic() + 5
        while b"session-down" not in log.read_bytes():
            if time.monotonic() > deadline:
                raise DemoError("the gateway did not notice that the client hung up")
            time.sleep(0.05)
        self._say("The client hung up; what the gateway logged:")
        for line in log.read_text("utf-8").splitlines():
            print(f"    {line}")
        print(flush=True)

    def _figures(self, session: dict[str, Any], bare: Transfer, tunnel: Transfer) -> None:
        rungs = session["session"]["rungs"]
        self._say("Figures:")
        print(
            f"    dial to connected      {session['after'] * 1000:8.0f} ms   ({', '.join(f'{k} {v * 1000:.0f} ms' for k, v in rungs.items())})"
        )
        print(f"    TCP through the tunnel {tunnel.rate:8.2f} Gbit/s (the bare cable: {bare.rate:.2f} Gbit/s)")
        print(f"    all of this took       {time.monotonic() - self._began:8.1f} s")
        print("Everything has been cleaned up. `headrace --help` says what else there is; docs/ has the rest.", flush=True)

    def _say(self, text: str) -> None:
        print(f"[{time.monotonic() - self._began:5.1f} s] {text}", flush=True)


# --- helpers ------------------------------------------------------------------------------------------------------------------------


def _command() -> list[str]:
    return [sys.executable, "-m", "headrace"]


def _must(command: list[str], directory: Path) -> str:
    done = subprocess.run(command, cwd=directory, capture_output=True, text=True, timeout=60, check=False)
    if done.returncode:
        raise DemoError(f"`headrace {' '.join(command[3:])}` failed: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout


def _wait_for(ready: Any, process: subprocess.Popen[Any], log: Path, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    name = log.stem
    while not ready():
        if process.poll() is not None or time.monotonic() > deadline:
            state = (
                f"ended with code {process.returncode}"
                if process.returncode is not None
                else f"is not ready after {seconds:g} s"
            )
            raise DemoError(f"{name} {state}:\n{log.read_text('utf-8').strip()}")
        time.sleep(0.02)


def _end(process: subprocess.Popen[Any]) -> None:
    """Ask, then insist."""
    if process.poll() is None:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(8)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _transfer(server: Namespace, client: Namespace, address: str) -> Transfer:
    """Send as fast as it goes for some seconds, from the client's namespace to the server's."""
    command = [sys.executable, "-m", "headrace.demo.traffic"]
    with server.popen([*command, "sink", address, "5201"], stdout=subprocess.PIPE, text=True) as sink:
        try:
            assert sink.stdout is not None
            sink.stdout.readline()
            client.run([*command, "source", address, "5201", str(SECONDS)], timeout=SECONDS + 20)
            said = json.loads(sink.stdout.readline())
        except (subprocess.SubprocessError, ValueError) as error:
            raise DemoError(f"the bulk transfer to {address} did not work: {error}") from error
        finally:
            _end(sink)
    return Transfer(said["bytes"], said["seconds"])


_ETH_P_ALL: Final = 3
_KEEP: Final = 256
"""Packets that are looked at for the drawing."""


def _sniffer(interface: str) -> socket.socket:
    sock = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(_ETH_P_ALL))
    sock.bind((interface, _ETH_P_ALL))
    sock.setblocking(False)
    return sock


def _drain(sock: socket.socket) -> list[bytes]:
    """What the sniffer holds: IPv4 packets of the size of a path, not the large segments that offloading makes of them."""
    packets: list[bytes] = []
    with suppress(BlockingIOError):
        while len(packets) < _KEEP:
            packet = sock.recv(65535)
            if len(packet) <= 1500:
                packets.append(packet)
    return packets
