"""Published packets through hr_decap: RFC 3602 section 4, draft-mcgrew-gcm-test-01."""

from __future__ import annotations

import hmac

import pytest

from headrace.dataplane.batch import Batch
from headrace.dataplane.native import lib
from headrace.dataplane.tables import DataPlane, PeerConfig
from headrace.model import Auth, Cipher, Endpoint, EspKeys

# Key, packet (SPI to ciphertext), plaintext before padding, next header, padding. The examples have no ICV, which this data plane
# refuses: one is put behind. None carries UDP, so each ends at its next header, decrypted in place.
RFC3602 = {
    "case 5": (
        "90d382b410eeba7ad938c46cec1a82bf",
        (
            "0000432100000001e96e8c08ab465763fd098d45dd3ff893f663c25d325c18c6a9453e194e120849a4870b66cc6b9965330013b4898dc856"
            "a4699e523a55db080b59ec3a8e4b7e52775b07d1db34ed9c538ab50c551b874aa269add047ad2d5913ac19b7cfbad4a6"
        ),
        "08000ebda70a00008e9c083db95b0700" + bytes(range(8, 56)).hex(),
        1,
        14,
    ),
    "case 6": (
        "90d382b410eeba7ad938c46cec1a82bf",
        "000043210000000869d08df7d203329db093fc4924e5bd80f51995881ec4e0c4488987ce742e8109689bb379d2d750c0d915dca346a89f75",
        "0800b5e8a80a0500a69c083d0b660e00" + "77" * 12,
        1,
        2,
    ),
    "case 7": (
        "0123456789abcdef0123456789abcdef",
        (
            "0000876500000002f4e765244f6407adf13dc1380f673f37773b5241a4c449225e4f3ce5ed611b0c237ca96cf74a93013c1b0ea1a0cf70f8"
            "e4ecaec78ac53aad7a0f022b859243c647752e94a859352b8a4d4d2decd136e5c177f132ad3fbfb2201ac9904c74ee0a109e0ca1e4dfe9d5"
            "a100b842f1c22f0d"
        ),
        "45000054090400004001f988c0a87b03c0a87bc808009f76a90a0100b49c083d02a20400" + bytes(range(8, 56)).hex(),
        4,
        10,
    ),
    "case 8": (
        "0123456789abcdef0123456789abcdef",
        (
            "000087650000000585d47224b5f3dd5d2101d4ea8dffab2215b92683819596a8047232cc00f7048fe45318e11f8a0f62ede3c3fc61203bb5"
            "0f980a08c9843fd3a1b06d5c07ff9639b7eb7dfb3512e5de435e7207ed971ef3d2726d9b5ef6affc6d17a0decbb13892"
        ),
        "45000044090c00004001f990c0a87b03c0a87bc80800d63caa0a0200c69c083da3de0300" + "ff" * 32,
        4,
        10,
    ),
}
REMOTE = Endpoint.of("198.51.100.1", 4500)


def decap(keys: EspKeys, packet: bytes, seq: int) -> tuple[str, bytes]:
    """Status, and the text where it lies decrypted."""
    with DataPlane(max_peers=1, max_sas=1, max_sessions=1) as plane:
        plane.add_sa(plane.add_peer(PeerConfig(REMOTE)), keys, seq=seq, replay_window=64)
        batch = Batch(1)
        batch.load([packet], lib.HR_KIND_RAW6, remote=REMOTE)
        start = int(batch.desc["off"][0])
        plane.decap(batch, 0)
        return batch.statuses()[0], batch.arena[start : start + len(packet)].tobytes()


@pytest.mark.parametrize("case", RFC3602)
def test_rfc3602(case: str) -> None:
    key, wire, plain, next_header, padding = RFC3602[case]
    packet, text = bytes.fromhex(wire), bytes.fromhex(plain)
    spi, seq = int.from_bytes(packet[:4]), int.from_bytes(packet[4:8])
    auth_key = bytes(range(20))
    keys = EspKeys(spi, False, Cipher.AES_CBC, Auth.HMAC_SHA1_96, bytes.fromhex(key), auth_key)
    status, octets = decap(keys, packet + hmac.digest(auth_key, packet, "sha1")[:12], seq - 1)
    assert status == "drop_esp_next_header"
    assert octets[24 : len(packet)] == text + bytes(range(1, padding + 1)) + bytes([padding, next_header])


def test_gcm_with_extended_sequence_numbers() -> None:
    key = bytes.fromhex("4c80cdefbb5d10da906ac73c3613a6342e443b68")
    wire = bytes.fromhex(
        "00004321000000004956ed7e3b244cfe"
        "fecf537e729d5b07dc30df528dd22b768d1b98736696a6fd348509fa13ceac34cfa2436f14a3f3cf65925bf1f4a13c5d15b21e1884f5ff6247aeabb7"
        "86b93bce61bc17d768fd9732459018148f6cbe722fd04796562dfdb4"
    )
    plain = bytes.fromhex(
        "45000048699a000080114db7c0a80102c0a801010a9bf15638d301000001000000000000045f736970045f75647003736970096379626572636974"
        "7902646b000021000101020201"
    )
    keys = EspKeys(0x4321, False, Cipher.AES_GCM16, Auth.NONE, key, b"", esn=True)
    status, octets = decap(keys, wire, 0x87654320FFFFFFFF)
    assert octets[16:-16] == plain
    # The example's trailer is 01 02 02 01: two octets of padding, pad length 2, next header 1 (ICMP).
    assert status == "drop_esp_next_header"
    assert decap(keys, wire, 0x87654320FFFFFFFE - 2**32)[0] == "drop_esp_auth", "the upper half is in the ICV"
