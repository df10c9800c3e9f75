"""Telling the service manager how we are (systemd's sd_notify protocol): one datagram to the socket that ``NOTIFY_SOCKET`` names.

So little that no library is needed for it; without the variable nothing is done.
"""

from __future__ import annotations

import logging
import os
import socket
import time

log = logging.getLogger("headrace.notify")


def notify(**facts: str | int) -> bool:
    """Send assignments such as ``READY=1`` and ``STATUS=...``. Whether there was anybody to tell."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return False
    text = "\n".join(f"{key}={str(value).replace(chr(10), ' ')}" for key, value in facts.items())
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as line:
            line.setblocking(False)
            line.sendto(text.encode(), "\0" + address[1:] if address.startswith("@") else address)
    except OSError as error:
        log.warning("the service manager at %s was not told: %s", address, error.strerror or error)
        return False
    return True


def reloading() -> bool:
    """Say that a reload has begun; ``READY=1`` ends it (``Type=notify-reload`` wants the time on the monotonic clock)."""
    return notify(RELOADING=1, MONOTONIC_USEC=time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000)


def watchdog_interval() -> float:
    """Seconds between signs of life that the service manager wants, 0 if it wants none: half of its limit."""
    if os.environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return 0.0
    try:
        return max(0.0, int(os.environ.get("WATCHDOG_USEC", "0")) / 2_000_000)
    except ValueError:
        return 0.0
