"""A gateway and clients in namespaces of their own, driven by headrace's commands alone, as a user would."""

from __future__ import annotations

import atexit
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import cache
from pathlib import Path
from typing import Any

from headrace.shell.netns import Namespace, veth

GATEWAY = "192.0.2.1"
INNER = "10.99.0.1"
NAME = "vpn.example.net"
PSK = "a pre-shared key of some length"
PASSWORD = "correct horse battery staple"

CONFIG: dict[str, dict[str, Any]] = {
    "gateway": {"name": "test", "listen": [GATEWAY], "state_dir": "state", "control_socket": "control.sock"},
    "log": {},
    "ike": {
        "auth": ["cert", "psk"],
        "psk_file": "psk",
        "certificate": "gateway/gateway.crt",
        "private_key": "gateway/gateway.key",
        "ca": ["gateway/ca.crt"],
        "crl_policy": "off",
    },
    "ppp": {},
    "network": {"address": INNER, "dns": [INNER]},
    "network.pools": {"pool": ["10.99.0.2-10.99.0.254"]},
    "accounts": {"database": "accounts.db", "key_file": "accounts.key"},
}


def reason_to_skip() -> str:
    """Why namespaces and TUN cannot be had here, empty if they can."""
    if os.geteuid() != 0:
        return "needs root: network namespaces, TUN and raw sockets"
    if not os.access("/dev/net/tun", os.R_OK | os.W_OK):
        return "needs /dev/net/tun"
    return ""


def headrace(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "headrace", *arguments]


def prepare(folder: Path) -> None:
    """CA, certificates, accounts and secrets, copied from what is made once."""
    shutil.copytree(_prepared(), folder, dirs_exist_ok=True)


@cache
def _prepared() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="headrace-site-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    for name, text in (
        ("psk", PSK),
        ("wrong-psk", "another key of the same length"),
        ("password", PASSWORD),
        ("wrong-password", "nope"),
    ):
        path = folder / name
        path.touch(mode=0o600)
        path.write_text(text, "utf-8")
    (folder / "gateway.toml").write_text(toml(CONFIG), "utf-8")
    for arguments in (
        ["pki", "init", "--dir", "ca"],
        ["pki", "issue", "--dir", "ca", "--gateway", "--dns", NAME, "--ip", GATEWAY, "--out", "gateway"],
        ["pki", "issue", "--dir", "ca", "laptop", "--out", "laptop"],
        ["pki", "init", "--dir", "other-ca", "--name", "Stranger"],
        ["pki", "issue", "--dir", "other-ca", "stranger", "--out", "stranger"],
        ["account", "add", "alice", "--password-file", "password", "--config", "gateway.toml"],
        ["account", "add", "bob", "--password-file", "password", "--config", "gateway.toml"],
    ):
        subprocess.run(headrace(*arguments), cwd=folder, check=True, capture_output=True, timeout=60)
    return folder


def toml(config: dict[str, dict[str, Any]]) -> str:
    return "\n".join(
        f"[{section}]\n" + "".join(f"{key} = {json.dumps(value)}\n" for key, value in values.items())
        for section, values in config.items()
    )


def masquerade(namespace: Namespace, interface: str) -> None:
    """Make a namespace a router with NAT towards an interface."""
    namespace.sysctl("net.ipv4.ip_forward", "1")
    rules = f"add table ip n; add chain ip n p {{ type nat hook postrouting priority 100; }}; add rule ip n p oifname {interface} masquerade"
    namespace.run(["nft", rules])


class Site:
    """One gateway in a namespace, and any number of clients."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self.folder = folder
        self._stack = stack
        self.gateway = stack.enter_context(Namespace("gateway"))
        self._clients = 0
        self._starts = 0
        self.log = folder / "none"

    def serve(self, **sections: dict[str, Any]) -> subprocess.Popen[Any]:
        """Start a gateway and wait until it takes calls."""
        process = self.launch(**sections)
        wait(lambda: "started headrace" in self.log.read_text("utf-8") or process.poll() is not None, 20)
        assert process.poll() is None, self.log.read_text("utf-8")
        return process

    def launch(self, **sections: dict[str, Any]) -> subprocess.Popen[Any]:
        """Start a gateway, whatever becomes of it."""
        self._starts += 1
        config = {name: {**values, **sections.get(name.replace(".", "_"), {})} for name, values in CONFIG.items()}
        config |= {name: values for name, values in sections.items() if name.replace("_", ".") not in CONFIG}
        (self.folder / "gateway.toml").write_text(toml(config), "utf-8")
        self.log = self.folder / f"gateway-{self._starts}.log"
        with self.log.open("wb") as out:
            process = self.gateway.popen(headrace("serve", "--config", "gateway.toml"), cwd=self.folder, stdout=out, stderr=out)
        self._stack.callback(end, process)
        return process

    def client(self) -> Namespace:
        """A namespace on the gateway's network."""
        self._clients += 1
        number = self._clients
        namespace = self._stack.enter_context(Namespace(f"client{number}"))
        if number == 1:
            veth(self.gateway, "wan", namespace, "wan")
            self.gateway.address("wan", GATEWAY, 24)
            namespace.address("wan", f"192.0.2.{10 + number}", 24)
        else:
            veth(self.gateway, f"wan{number}", namespace, "wan")
            self.gateway.address(f"wan{number}", f"198.51.100.{number * 4 + 1}", 30)
            namespace.address("wan", f"198.51.100.{number * 4 + 2}", 30)
            namespace.route(f"{GATEWAY}/32", f"198.51.100.{number * 4 + 1}")
        return namespace

    def dial(
        self, client: Namespace, *arguments: str, psk: str = "psk", password: str = "password", user: str = "alice"
    ) -> Dial:
        """Start a client; with ``psk=""`` the arguments say how the machine proves itself."""
        command = headrace("dial", GATEWAY, "--user", user, "--password-file", password, "--json", *arguments)
        if psk:
            command += ["--psk-file", psk]
        process = client.popen(command, cwd=self.folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self._stack.callback(end, process)
        return Dial(process)

    def control(self, *arguments: str) -> Any:
        """Ask the running gateway."""
        done = subprocess.run(
            headrace(*arguments, "--config", "gateway.toml", "--json"),
            cwd=self.folder,
            check=True,
            capture_output=True,
            text=True,
            timeout=30,
        )
        return json.loads(done.stdout)

    def logged(self, text: str, seconds: float = 10.0) -> str:
        """Wait for a line with this text in the gateway's log; the line."""
        wait(lambda: text in self.log.read_text("utf-8"), seconds, lambda: f"{text!r} not in:\n{self.log.read_text('utf-8')}")
        return next(line for line in self.log.read_text("utf-8").splitlines() if text in line)


class Dial:
    """A running ``headrace dial``."""

    def __init__(self, process: subprocess.Popen[Any]) -> None:
        self.process = process
        self.events: list[dict[str, Any]] = []

    def wait_for(self, event: str) -> dict[str, Any]:
        """Read what it says until this event."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.events.append(json.loads(line))
            if self.events[-1]["event"] == event:
                return self.events[-1]
        raise AssertionError(f"no {event} in {self.events}: {self.process.stderr and self.process.stderr.read()}")

    def hang_up(self) -> int:
        """Interrupt it as Ctrl-C does, and wait."""
        self.process.send_signal(signal.SIGINT)
        return self.finish()[0]

    def finish(self, seconds: float = 50) -> tuple[int, str]:
        """Wait for its end; code and what it complained."""
        out, err = self.process.communicate(timeout=seconds)
        self.events += [json.loads(line) for line in out.splitlines()]
        return self.process.returncode, err

    def event(self, kind: str) -> dict[str, Any]:
        return next(e for e in self.events if e["event"] == kind)


def wait(ready: Callable[[], bool], seconds: float, what: Callable[[], str] = lambda: "") -> None:
    deadline = time.monotonic() + seconds
    while not ready():
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds} s: {what()}")
        time.sleep(0.05)


def end(process: subprocess.Popen[Any]) -> None:
    if process.poll() is None:
        process.send_signal(signal.SIGINT)
        try:
            process.communicate(timeout=10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
    for stream in (process.stdout, process.stderr):
        if stream is not None and not stream.closed:
            stream.close()


def ping(client: Namespace, source: str, target: str = INNER, *, size: int = 56) -> int:
    """Five echo requests through the tunnel; how many were answered."""
    script = (
        "import asyncio, sys; from ipaddress import ip_address as a; from headrace.shell.ping import ping; "
        "print(asyncio.run(ping(a(sys.argv[1]), a(sys.argv[2]), count=5, interval=0.05, timeout=1, size=int(sys.argv[3]))).received)"
    )
    return int(client.run([headrace()[0], "-c", script, source, target, str(size)]).stdout)
