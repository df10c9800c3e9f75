"""A bulk transfer over TCP, as its own process in a namespace: ``python -m headrace.demo.traffic sink|source ADDRESS PORT SECONDS``.

The sink prints one JSON line with what arrived.
"""

from __future__ import annotations

import json
import socket
import sys
import time

CHUNK = 1 << 20


def sink(address: str, port: int) -> None:
    """Take one connection and count what it brings until it ends."""
    with socket.create_server((address, port)) as server:
        server.settimeout(20)
        print("ready", flush=True)
        connection, _ = server.accept()
        with connection:
            connection.settimeout(20)
            buffer = bytearray(CHUNK)
            total, start = 0, time.monotonic()
            while n := connection.recv_into(buffer):
                total += n
            spent = time.monotonic() - start
    print(json.dumps({"bytes": total, "seconds": spent}), flush=True)


def source(address: str, port: int, seconds: float) -> None:
    """Send as fast as it goes."""
    chunk = bytes(CHUNK)
    with socket.create_connection((address, port), timeout=10) as connection:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            connection.sendall(chunk)


if __name__ == "__main__":
    if sys.argv[1] == "sink":
        sink(sys.argv[2], int(sys.argv[3]))
    else:
        source(sys.argv[2], int(sys.argv[3]), float(sys.argv[4]))
