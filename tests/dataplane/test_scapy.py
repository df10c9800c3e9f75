"""ESP against scapy's, which shares no code with this project or its oracle."""

from __future__ import annotations

from typing import Any

import pytest
from scapy.layers.inet import IP, UDP
from scapy.layers.ipsec import ESP, SecurityAssociation
from scapy.packet import Raw
from tests.dataplane.world import ip4, ip4_out, world
from tests.oracle import esp, l2tp

from headrace.model import Auth, Cipher

CIPHERS = {
    Cipher.NULL: "NULL",
    Cipher.DES_CBC: "DES",
    Cipher.TRIPLE_DES_CBC: "3DES",
    Cipher.AES_CBC: "AES-CBC",
    Cipher.AES_GCM16: "AES-GCM",
}
AUTHS = {
    Auth.NONE: None,
    Auth.HMAC_MD5_96: "HMAC-MD5-96",
    Auth.HMAC_SHA1_96: "HMAC-SHA1-96",
    Auth.HMAC_SHA2_256_128: "SHA2-256-128",
    Auth.HMAC_SHA2_384_192: "SHA2-384-192",
    Auth.HMAC_SHA2_512_256: "SHA2-512-256",
}
TRANSFORMS = [t for t in esp.TRANSFORMS if t.auth in AUTHS and t.cipher is not Cipher.DES_CBC]


def association(sa: esp.Sa) -> Any:
    keys = sa.keys
    make: Any = SecurityAssociation  # scapy has no types
    return make(
        ESP,
        spi=keys.spi,
        seq_num=1,
        crypt_algo=CIPHERS[keys.cipher],
        crypt_key=keys.enc_key or None,
        auth_algo=AUTHS[keys.auth],
        auth_key=keys.auth_key or None,
        esn_en=keys.esn,
        esn=0,
    )


@pytest.mark.parametrize("transform", TRANSFORMS, ids=str)
def test_both_ways(transform: esp.Transform) -> None:
    with world(transform) as w:
        theirs, ours = association(w.theirs), association(w.ours)
        for size in (0, 5, 1300):
            data = l2tp.data(1, 1, l2tp.ppp(0x21, ip4(size)))
            clear = IP(src="198.51.100.7", dst="203.0.113.1") / UDP(sport=1701, dport=1701) / Raw(data)
            sealed = bytes(theirs.encrypt(clear)[ESP])
            assert w.decap1(sealed) == ("ok", ip4(size))
            ((status, packet),) = w.encap([ip4_out(size)])
            assert status == "ok"
            opened = ours.decrypt(IP(src="203.0.113.1", dst="198.51.100.7", proto=50) / ESP(packet))
            assert bytes(opened[UDP].payload) == l2tp.data(101, 202, l2tp.ppp(0x21, ip4_out(size)))
