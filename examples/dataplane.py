"""The data plane by itself: keys and sessions put in by hand, a batch of packets through it and back. No gateway, no network, no root.

    python examples/dataplane.py

Two data planes stand for the two ends of a tunnel. docs/library.md says what may be done with all of this, and what each status means.
"""

from __future__ import annotations

from ipaddress import IPv4Address
from secrets import token_bytes
from time import monotonic_ns

import numpy as np

from headrace.dataplane.batch import DESC, HEADROOM, Batch, endpoint_record
from headrace.dataplane.native import KIND, STATUS, lib
from headrace.dataplane.tables import DataPlane, PeerConfig, SessionConfig
from headrace.model import Auth, Cipher, Endpoint, EspKeys, MppeKeys

GATEWAY, CLIENT = Endpoint.of("192.0.2.1", 4500), Endpoint.of("198.51.100.7", 4500)
HOST, INNER = IPv4Address("10.1.2.3"), IPv4Address("10.99.0.2")


def install(plane: DataPlane, remote: Endpoint, *, outbound: bool, key: bytes, start: bytes) -> int:
    """One peer behind a NAT, one SA of AES-256-GCM, one L2TP session with MPPE-128: what IKE, L2TP and PPP would have negotiated.

    A real tunnel has an SA and a direction of MPPE each way. The gateway knows the inner address that it gave (``own4``).
    """
    peer = plane.add_peer(PeerConfig(remote, udp_encap=True))
    sa = plane.add_sa(
        peer, EspKeys(spi=0x1001, outbound=outbound, cipher=Cipher.AES_GCM16, auth=Auth.NONE, enc_key=key, auth_key=b"")
    )
    if outbound:
        plane.use_sa(sa)
    session = plane.add_session(
        SessionConfig(
            peer,
            local_tunnel=1,
            local_session=1,
            remote_tunnel=1,
            remote_session=1,
            open4=True,
            own4=INNER if outbound else None,
        )
    )
    plane.set_mppe(session, MppeKeys(outbound=outbound, bits=128, stateless=True, start_key=start))
    return session


def packets(count: int, length: int) -> np.ndarray:
    """IPv4 packets from a host behind the gateway to the client, as rows of an array."""
    rows = np.zeros((count, length), np.uint8)
    rows[:, 0], rows[:, 8], rows[:, 9] = 0x45, 64, 17
    rows[:, 2:4] = np.frombuffer(length.to_bytes(2, "big"), np.uint8)
    rows[:, 12:20] = np.frombuffer(HOST.packed + INNER.packed, np.uint8)
    total = rows[:, :20].astype(np.uint32).reshape(count, 10, 2) @ np.array([256, 1], np.uint32)
    checksum = ~(total.sum(axis=1) % 0xFFFF) & 0xFFFF
    rows[:, 10], rows[:, 11] = checksum >> 8, checksum & 0xFF
    rows[:, 20:] = np.arange(count, dtype=np.uint8)[:, None]
    return rows


def main() -> None:
    """Encapsulate, look at the wire, decapsulate."""
    key, start = token_bytes(36), token_bytes(16)
    with (
        DataPlane(max_peers=1, max_sas=2, max_sessions=1) as gateway,
        DataPlane(max_peers=1, max_sas=2, max_sessions=1) as client,
    ):
        session = install(gateway, CLIENT, outbound=True, key=key, start=start)
        install(client, GATEWAY, outbound=False, key=key, start=start)
        rows = packets(64, 1200)

        batch = Batch(capacity=len(rows), slot=2048)  # one arena, one array of descriptors, both NumPy
        slots = batch.arena.reshape(len(rows), batch.slot)
        slots[:, HEADROOM : HEADROOM + rows.shape[1]] = rows
        desc = batch.desc
        desc["off"] = np.arange(len(rows)) * batch.slot + HEADROOM
        desc["len"], desc["room_head"] = rows.shape[1], HEADROOM
        desc["room_tail"] = batch.slot - HEADROOM - rows.shape[1]
        desc["kind"], desc["session"] = lib.HR_KIND_IP, session
        batch.resize(len(rows))
        gateway.encap(batch, monotonic_ns())  # in place: no packet is copied, no Python object made
        tell("encap", desc)

        desc["kind"], desc["remote"] = lib.HR_KIND_UDP4500, endpoint_record(GATEWAY)  # as the client's socket would describe it
        client.decap(batch, monotonic_ns())
        tell("decap", desc)
        for row, off, length in zip(rows, desc["off"], desc["len"], strict=True):
            if not np.array_equal(batch.arena[off : off + length], row):
                raise SystemExit("a packet came out changed")
        print(f"all {len(rows)} came out as they went in; {DESC.itemsize} octets a descriptor")


def tell(doing: str, desc: np.ndarray) -> None:
    """What became of the packets."""
    for status in np.unique(desc["status"]):
        chosen = desc[desc["status"] == status]
        print(
            f"{doing}: {len(chosen)} packets {STATUS[int(status)]}, {KIND[int(chosen['kind'][0])]}, {int(chosen['len'][0])} octets each"
        )


if __name__ == "__main__":
    main()
