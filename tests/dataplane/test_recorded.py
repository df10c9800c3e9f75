"""A recorded connection of real peers, from both of its ends."""

from __future__ import annotations

import json
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from headrace.dataplane.batch import Batch
from headrace.dataplane.native import lib
from headrace.dataplane.tables import DataPlane, PeerConfig, SessionConfig
from headrace.model import Auth, Cipher, Endpoint, EspKeys, MppeKeys, MppePolicy

RECORD = json.loads((Path(__file__).parent.parent / "vectors" / "dataplane" / "linux-mppe128.json").read_text("utf-8"))
IDS = {"client": (0x1E8E, 0x4AD6), "server": (0xBA14, 0x280A)}
OWN = {"client": None, "server": IPv4Address("10.99.0.10")}
OTHER = {"client": "server", "server": "client"}


@pytest.mark.parametrize("side", ["client", "server"])
@pytest.mark.parametrize("together", [False, True])
def test_linux_with_mppe(side: str, together: bool) -> None:
    """Everything that the other side sent comes out as what it was."""
    far = OTHER[side]
    sa = RECORD["sas"][far]
    packets = [bytes.fromhex(octets) for sender, octets in RECORD["packets"] if sender == far]
    with DataPlane(max_peers=1, max_sas=1, max_sessions=1) as plane:
        peer = plane.add_peer(PeerConfig(Endpoint.of("192.0.2.1", 4500)))
        keys = EspKeys(
            sa["spi"], False, Cipher.AES_CBC, Auth.HMAC_SHA2_256_128, bytes.fromhex(sa["enc"]), bytes.fromhex(sa["auth"])
        )
        plane.add_sa(peer, keys, replay_window=64)
        session = plane.add_session(
            SessionConfig(peer, *IDS[side], 1, 1, open4=True, own4=OWN[side], mppe_policy=MppePolicy.REQUIRED)
        )
        plane.set_mppe(session, MppeKeys(False, 128, True, bytes.fromhex(RECORD["mppe_start"][far])))
        batch = Batch()
        got: list[tuple[str, bytes]] = []
        for chunk in [packets] if together else [[packet] for packet in packets]:
            batch.load(chunk, lib.HR_KIND_RAW6)
            plane.decap(batch, 0)
            got += zip(batch.statuses(), batch.packets(), strict=True)
    inner = [bytes.fromhex(octets) for sender, octets in RECORD["inner"] if sender == far]
    assert [packet for status, packet in got if status == "ok"] == inner
    assert len(inner) == 8
    protocols = {packet[:2].hex() for status, packet in got if status == "exc_ppp"}
    assert protocols == {"c021", "c223", "80fd", "8021", "8057"}
    assert sum(status == "exc_l2tp" for status, _ in got) >= 4
    # the first encrypted frame is a router solicitation, and IPv6 is not open here
    assert [status for status, _ in got if status.startswith("drop")] == ["drop_ppp_not_open"]
