"""What we send, as others read it: tshark with our key log, scapy for the messages in clear."""

from __future__ import annotations

import json
import shutil
import subprocess
import warnings
from pathlib import Path

import pytest
from tests.ike.harness import Pair, cert_config, config

from headrace.ike import events

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from scapy.layers.inet import IP, UDP
    from scapy.layers.isakmp import ISAKMP, ISAKMP_payload_KE, ISAKMP_payload_Nonce, ISAKMP_payload_SA, ISAKMP_payload_VendorID
    from scapy.utils import wrpcap

TSHARK = shutil.which("tshark")


def packets(pair: Pair) -> list[IP]:
    found = []
    for _, _, d in pair.wire:
        marker = (
            b"\0\0\0\0" if 4500 in {d.local.port, d.remote.port} or d.local.port >= 40000 or d.remote.port >= 40000 else b""
        )
        port = 4500 if marker else 500
        found.append(IP(src=str(d.local.address), dst=str(d.remote.address)) / UDP(sport=port, dport=port) / (marker + d.data))
    return found


def test_scapy_reads_the_messages_in_clear() -> None:
    pair = Pair().connect()
    for number, (_, _, d) in enumerate(pair.wire[:4]):
        packet = ISAKMP(d.data)
        assert packet.length == len(d.data)
        assert packet.haslayer(ISAKMP_payload_SA if number < 2 else ISAKMP_payload_KE)
        assert packet.haslayer(ISAKMP_payload_VendorID if number < 2 else ISAKMP_payload_Nonce)
        assert bytes(packet) == d.data


@pytest.mark.skipif(TSHARK is None, reason="tshark is not installed")
@pytest.mark.parametrize("kind", ["psk", "nat", "cert", "pfs"])
def test_tshark_reads_everything(tmp_path: Path, kind: str) -> None:
    if kind == "cert":
        pair = Pair(cert_config("client", keylog=True), cert_config("server")).connect()
    elif kind == "pfs":
        esp = "aes256-sha256-modp2048"
        pair = Pair(config("aes256-sha256-ecp384", esp, keylog=True, pfs=True), config("aes256-sha256-ecp384", esp)).connect()
    else:
        pair = Pair(config(keylog=True), config(), client_nat=kind == "nat").connect()
    pair.client.ike.rekey_child(pair.handle, pair.now)
    pair.run(10)
    from headrace.errors import Slug
    from headrace.model import Failure

    pair.client.ike.close_peer(pair.handle, Failure(Slug.USER_REQUEST), pair.now)
    pair.run(1)
    key = pair.client.last(events.Keys)
    capture = tmp_path / "ike.pcap"
    wrpcap(str(capture), packets(pair))
    table = f"uat:ikev1_decryption_table:{key.initiator_cookie.hex()},{key.key.hex()}"
    (tmp_path / "home").mkdir()
    done = subprocess.run(
        [str(TSHARK), "-r", str(capture), "-o", table, "-T", "json", "-Y", "isakmp"],
        capture_output=True,
        text=True,
        check=True,
        env={"HOME": str(tmp_path / "home"), "PATH": "/usr/bin:/bin"},
    )
    frames = json.loads(done.stdout)
    assert len(frames) == len(pair.wire)
    text = done.stdout
    assert "Malformed" not in text and "_ws.expert" not in text
    assert text.count('"isakmp.enc.decrypted"') + text.count("Decrypted Data") >= len(pair.wire) - 4 or "isakmp.hash" in text
    assert text.count('"isakmp.hash"') >= (len(pair.wire) - 6 if kind == "cert" else len(pair.wire) - 4)
