"""A gateway on two loopback sockets: the real cores behind a data plane in Python, in a thread."""

from __future__ import annotations

import secrets
import select
import socket
import threading
import time
from dataclasses import replace
from ipaddress import ip_address
from typing import Self

from tests.stack.harness import INNER, judge_by

from headrace.ike.config import IkeConfig
from headrace.ike.endpoint import IkeEndpoint
from headrace.inspect import ip as ips
from headrace.l2tp.config import L2tpConfig
from headrace.model import Datagram, Endpoint
from headrace.ppp.config import LinkConfig
from headrace.ppp.frame import Frame, Proto
from headrace.stack import events
from headrace.stack.ids import TunnelIds
from headrace.stack.ladder import LadderConfig
from headrace.stack.lns import Lns
from headrace.troubleshoot.plane import PEER, SoftPlane

LOCAL = ip_address("127.0.0.1")
MARKER = bytes(4)


class Server:
    """One gateway for one client."""

    def __init__(
        self,
        ike: IkeConfig,
        link: LinkConfig | None = None,
        *,
        l2tp: L2tpConfig | None = None,
        deaf_natt: bool = False,
        largest: int = 1400,
    ) -> None:
        self._sockets = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2)]
        for sock in self._sockets:
            sock.bind((str(LOCAL), 0))
        self.ike_port, self.natt_port = (sock.getsockname()[1] for sock in self._sockets)
        self._plane = SoftPlane()
        self._deaf = deaf_natt
        self._largest = largest
        rand = secrets.token_bytes
        endpoint = IkeEndpoint(ike, rand, ike_port=self.ike_port, natt_port=self.natt_port)
        link = link or LinkConfig(server=True, local_address=INNER)
        config = LadderConfig(l2tp=l2tp or L2tpConfig(host_name="gateway"), link=link)
        self._ladder = Lns(endpoint, self._plane, config, TunnelIds(rand).allocator(), rand)
        self._judge = judge_by({"alice": "wonderland"})
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join(5)
        for sock in self._sockets:
            sock.close()

    def _run(self) -> None:
        while not self._over.is_set():
            readable, _, _ = select.select(self._sockets, [], [], 0.02)
            for sock in readable:
                self._read(sock)
            self._ladder.tick(time.monotonic())
            self._flush()

    def _read(self, sock: socket.socket) -> None:
        data, address = sock.recvfrom(65535)
        now = time.monotonic()
        remote = Endpoint(ip_address(address[0]), address[1])
        natt = sock is self._sockets[1]
        if natt and self._deaf:
            return
        if natt and data[:4] != MARKER:
            for inner in self._plane.open(data):
                if inner.control:
                    self._ladder.l2tp_control(PEER, inner.data, inner.local_port, inner.remote_port, now)
                else:
                    self._frame(inner.session, inner.data, now)
            return
        local = Endpoint(LOCAL, self.natt_port if natt else self.ike_port)
        self._ladder.ike_datagram(Datagram(local, remote, data[4:] if natt else data), now)

    def _frame(self, session: int, data: bytes, now: float) -> None:
        frame = Frame.parse(data)
        if frame.protocol != Proto.IPV4:
            self._ladder.ppp_frame(session, frame.emit(), now)
        elif len(frame.information) <= self._largest and ips.checksum(frame.information[:20]) == 0:
            self._send(self._plane.frame(session, b"\x00\x21" + frame.information))  # an echo in every sense

    def _send(self, data: bytes | None) -> None:
        if data is not None and self._plane.peer is not None:
            remote = self._plane.peer.remote
            self._sockets[1].sendto(data, (str(remote.address), remote.port))

    def _flush(self) -> None:
        for event in self._ladder.poll_events():
            if isinstance(event, events.AuthNeeded):
                verdict = self._judge(event.request)
                self._ladder.auth_result(event.session.handle, event.request.request, verdict, time.monotonic())
        for datagram in self._ladder.poll_datagrams():
            natt = datagram.local.port == self.natt_port
            data = (MARKER if natt else b"") + datagram.data
            self._sockets[natt].sendto(data, (str(datagram.remote.address), datagram.remote.port))
        for packet in self._ladder.poll_packets():
            match packet:
                case events.L2tpPacket():
                    self._send(self._plane.control(packet.data, packet.local_port, packet.remote_port))
                case events.PppPacket():
                    self._send(self._plane.frame(packet.session, packet.data))
                case events.ReleaseSession():
                    self._plane.remove_session(packet.session)
                case events.ReleasePeer():
                    self._plane.remove_peer(packet.peer)
                case _:
                    pass


def quick(config: IkeConfig) -> IkeConfig:
    """The same, less patient."""
    return replace(config, retransmit_base=0.2, retransmit_tries=3)
