"""Compression and stateful encryption between the real gateway and the real client, over real sockets, ESP and TUN."""

from __future__ import annotations

import json
import socket
import threading
import time
from contextlib import ExitStack
from select import select
from typing import Any

import pytest
from tests.shell.site import GATEWAY, INNER, Dial, Site, end, headrace, reason_to_skip

from headrace.shell.netns import Namespace

pytestmark = [
    pytest.mark.root,
    pytest.mark.timeout(120),
    pytest.mark.skipif(bool(reason_to_skip()), reason=reason_to_skip() or "-"),
]

TEXT = b"The quick brown fox jumps over the lazy dog, and the dog does not mind. " * 4000
PORT = 7777
RELAY = "127.0.0.2"


def transfer(site: Site, client: Namespace) -> bytes:
    """Send a text to a server behind the gateway, which sends it back."""
    listener = site.gateway.call(socket.socket, socket.AF_INET, socket.SOCK_STREAM)
    with listener:
        listener.bind((INNER, PORT))
        listener.listen()

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                while data := connection.recv(65536):
                    connection.sendall(data)

        server = threading.Thread(target=serve, daemon=True)
        server.start()
        with client.call(socket.socket, socket.AF_INET, socket.SOCK_STREAM) as caller:
            caller.settimeout(30)
            caller.connect((INNER, PORT))
            sender = threading.Thread(target=send, args=(caller,), daemon=True)
            sender.start()
            received = b""
            while data := caller.recv(65536):
                received += data
        server.join(10)
    return received


def send(caller: socket.socket) -> None:
    caller.sendall(TEXT)
    caller.shutdown(socket.SHUT_WR)


@pytest.mark.parametrize(
    ("ppp", "arguments", "expected", "bound"),
    [
        (
            {"encryption": "required-128", "compression": ["mppc"]},
            ("--encryption", "required-128", "--compress", "mppc"),
            {"mppe": "128-bit stateless", "compression": "mppc"},
            0.5,
        ),
        (
            {"compression": ["deflate"], "header_compression": True},
            ("--compress", "deflate", "--header-compression"),
            {"mppe": "", "compression": "deflate, vj"},
            0.2,
        ),
    ],
    ids=["mppc-mppe", "deflate-vj"],
)
def test_a_compressed_connection(
    site: Site, ppp: dict[str, Any], arguments: tuple[str, ...], expected: dict[str, str], bound: float
) -> None:
    client = site.client()
    site.serve(ppp=ppp)
    dial = site.dial(client, *arguments)
    dial.wait_for("connected")
    (session,) = site.control("sessions")
    assert {key: session[key] for key in expected} == expected
    assert transfer(site, client) == TEXT
    status = site.control("status")
    (session,) = site.control("sessions")
    inner = session["rx_bytes"] + session["tx_bytes"]
    assert inner > 2 * len(TEXT)
    (wan,) = json.loads(site.gateway.run(["ip", "-json", "-stats", "link", "show", "wan"]).stdout)
    outer = wan["stats64"]["rx"]["bytes"] + wan["stats64"]["tx"]["bytes"]
    assert outer < bound * inner, (outer, inner)
    assert not [name for name in status["packets"] if name.startswith("drop_")], status["packets"]
    assert dial.hang_up() == 0


def relay(client: Namespace, stack: ExitStack, lose: frozenset[int]) -> None:
    """UDP 500 and 4500 of an address on the client's own machine lead to the gateway, as through a NAT that loses some ESP packets."""
    inside = {port: stack.enter_context(client.call(socket.socket, socket.AF_INET, socket.SOCK_DGRAM)) for port in (500, 4500)}
    outside = {port: stack.enter_context(client.call(socket.socket, socket.AF_INET, socket.SOCK_DGRAM)) for port in (500, 4500)}
    for port, sock in inside.items():
        sock.bind((RELAY, port))
        outside[port].connect((GATEWAY, port))
    stop = threading.Event()

    def run() -> None:
        callers: dict[int, Any] = {}
        esp = 0
        while not stop.is_set():
            ready, _, _ = select([*inside.values(), *outside.values()], [], [], 0.1)
            for port in (500, 4500):
                for sock, out in ((inside[port], outside[port]), (outside[port], inside[port])):
                    if sock not in ready:
                        continue
                    data, address = sock.recvfrom(65535)
                    if port == 4500 and data[:4] != bytes(4):
                        esp += 1
                        if esp in lose:
                            continue
                    if sock is inside[port]:
                        callers[port] = address
                        out.send(data)
                    elif port in callers:
                        out.sendto(data, callers[port])

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    stack.callback(thread.join)
    stack.callback(stop.set)


def test_stateful_mppe_recovers_from_losses(site: Site) -> None:
    client = site.client()
    site.serve(ppp={"encryption": "required-128", "mppe_stateless": False})
    with ExitStack() as stack:
        relay(client, stack, lose=frozenset({70, 110, 150, 151, 190}))
        command = headrace("dial", RELAY, "--user", "alice", "--password-file", "password", "--json", "--psk-file", "psk")
        command += ["--encryption", "required-128", "--mppe-stateful", "--source", RELAY]
        process = client.popen(command, cwd=site.folder, stdout=-1, stderr=-1, text=True)
        stack.callback(end, process)
        dial = Dial(process)
        dial.wait_for("connected")
        (session,) = site.control("sessions")
        assert session["mppe"] == "128-bit stateful"
        echoed = echoes(site, client, 150)
        assert 75 <= len(echoed) < 150, sorted(echoed)
        packets = site.control("status")["packets"]
        assert packets["drop_mppe_lost"]
        assert packets["exc_mppe_reset"]
        assert not {name for name in packets if name.startswith("drop_")} - {"drop_mppe_lost"}, packets
        assert echoes(site, client, 5)
        assert dial.hang_up() == 0


def echoes(site: Site, client: Namespace, count: int) -> set[bytes]:
    """How many of so many datagrams, 10 ms apart, a server behind the gateway gets and the client gets back."""
    answered: set[bytes] = set()
    with (
        site.gateway.call(socket.socket, socket.AF_INET, socket.SOCK_DGRAM) as server,
        client.call(socket.socket, socket.AF_INET, socket.SOCK_DGRAM) as caller,
    ):
        server.bind((INNER, PORT))
        caller.connect((INNER, PORT))
        for number in range(count):
            caller.send(number.to_bytes(2) * 50)
            until = time.monotonic() + 0.01
            while (left := until - time.monotonic()) > 0:
                ready, _, _ = select([server, caller], [], [], left)
                if server in ready:
                    data, address = server.recvfrom(2048)
                    server.sendto(data, address)
                if caller in ready:
                    answered.add(caller.recv(2048))
    return answered
