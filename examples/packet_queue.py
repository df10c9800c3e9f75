"""A program in place of the TUN: two engines on loopback, inner packets by queues in memory. Needs no privileges.

python examples/packet_queue.py
"""

from __future__ import annotations

import struct
from contextlib import ExitStack
from ipaddress import IPv4Address, ip_address

from headrace.dataplane.engine import Engine
from headrace.dataplane.queues import PacketQueue
from headrace.dataplane.tables import DataPlane, PeerConfig, SessionConfig
from headrace.model import Auth, Cipher, Endpoint, EspKeys
from headrace.shell.sockets import open_listener

CLIENT, GATEWAY = IPv4Address("10.9.0.2"), IPv4Address("10.9.0.1")
KEY = bytes(range(20))  # of AES-GCM with its salt: IKE would have agreed on one for each direction


def ip_packet(source: IPv4Address, target: IPv4Address, body: bytes) -> bytes:
    """The smallest IPv4 packet of an experimental protocol."""
    header = bytearray(struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(body), 1, 0, 64, 253, 0) + source.packed + target.packed)
    total = sum(struct.unpack("!10H", header))
    header[10:12] = struct.pack("!H", 0xFFFF - (total % 0xFFFF or 0xFFFF))
    return bytes(header) + body


def main() -> None:
    """Send eight packets from the client to the gateway, and an answer back."""
    with ExitStack() as stack:
        planes = [stack.enter_context(DataPlane(max_peers=4, max_sas=8, max_sessions=4)) for _ in range(2)]
        listeners = [open_listener(ip_address("127.0.0.1"), ike_port=0, natt_port=0, raw_esp=False) for _ in range(2)]
        for listener in listeners:
            stack.callback(listener.close)
        queues = [stack.enter_context(PacketQueue()) for _ in range(2)]
        client, gateway = planes
        for plane, other, local, remote in ((client, listeners[1], 7, 9), (gateway, listeners[0], 9, 7)):
            peer = plane.add_peer(PeerConfig(Endpoint.of("127.0.0.1", other.natt_port), udp_encap=True))
            for spi in (0x1001, 0x2002):
                outbound = (spi == 0x2002) == (plane is client)
                index = plane.add_sa(peer, EspKeys(spi, outbound, Cipher.AES_GCM16, Auth.NONE, KEY, b""), replay_window=1024)
                if outbound:
                    plane.use_sa(index)
            plane.add_session(
                SessionConfig(
                    peer,
                    local_tunnel=local,
                    local_session=local,
                    remote_tunnel=remote,
                    remote_session=remote,
                    open4=True,
                    send_mru=1400,
                    default_route=plane is client,
                    own4=CLIENT if plane is gateway else None,
                )
            )
        for plane, listener, queue in zip(planes, listeners, queues, strict=True):
            stack.enter_context(Engine(plane, [listener], queue)).start()

        queues[0].send([ip_packet(CLIENT, GATEWAY, b"number %d" % number) for number in range(8)])
        got: list[bytes] = []
        while len(got) < 8:
            got += queues[1].receive(timeout=5)
        print(f"the gateway's program took {len(got)} packets, the last says {got[-1][20:].decode()!r}")
        queues[1].send([ip_packet(GATEWAY, CLIENT, b"thanks")])
        print(f"the client's program took {queues[0].receive(timeout=5)[0][20:].decode()!r}")


if __name__ == "__main__":
    main()
