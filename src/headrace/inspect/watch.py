"""A session of a running gateway as it happens: packets from the wire, keys from the gateway itself.

The gateway does nothing for it but hand the keys out once, and again after a rekey; its data plane does not know that it is watched.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from ipaddress import ip_address
from typing import Any, Final

from headrace.inspect.dissect import Dissector
from headrace.inspect.keys import EspKey, Keys
from headrace.inspect.mppe import Chain
from headrace.inspect.packet import Packet
from headrace.inspect.pcap import Captured
from headrace.model import Auth, Cipher

ASK_AGAIN: Final = 1.0
"""Seconds between two questions for keys, when packets come that none opens."""
SPIS_MAX: Final = 64
"""SPIs whose keys are kept: the session's, and those of some rekeys."""


class Watch:
    """``ask`` gives the answer of the control socket's verb ``keys``, or raises."""

    def __init__(self, ask: Callable[[], dict[str, Any]], clock: Callable[[], float] = time.monotonic) -> None:
        self._ask = ask
        self._clock = clock
        self._keys = Keys()
        self.dissector = Dissector(self._keys, clear=True)
        self.answer: dict[str, Any] = {}
        self._asked = 0.0
        self.refresh()

    def refresh(self) -> None:
        """Ask for the keys that are in force. Raises what ``ask`` raises."""
        self._asked = self._clock()
        self.answer = self._ask()
        local, remote = (ip_address(self.answer[name][0]).packed for name in ("local", "remote"))
        for row in self.answer["esp"]:
            if len(self._keys.esp) >= SPIS_MAX:
                del self._keys.esp[next(iter(self._keys.esp))]
            destination = remote if row["outbound"] else local
            self._keys.esp[row["spi"]] = [
                EspKey(
                    row["spi"],
                    Cipher[row["cipher"]],
                    Auth[row["auth"]],
                    destination,
                    bytes.fromhex(row["key"]),
                    bytes.fromhex(row["auth_key"]),
                )
            ]
        chains = {
            row["outbound"]: Chain(
                bytes.fromhex(row["start_key"]), row["bits"], row["stateless"], bytes.fromhex(row["session_key"]), row["count"]
            )
            for row in self.answer["mppe"]
        }
        self.dissector.mppe.watch(local, chains)

    def packets(self, source: Iterable[Captured]) -> Iterator[Packet]:
        """Take packets of the session's machine apart. Raises what ``ask`` raises: the session has ended."""
        for captured in source:
            packet = self.dissector.feed(captured)
            unknown = packet.esp is not None and not packet.esp.opened and packet.esp.spi not in self._keys.esp
            if unknown and self._clock() - self._asked >= ASK_AGAIN:
                self.refresh()
                packet = self.dissector.feed(captured)
            yield packet
