"""The known answers of csrc/selftest.c, computed by OpenSSL. Run as a script, prints the table to paste there."""

from __future__ import annotations

from tests.kernels import esp_reference as ref

PACKETS = 40
TABLE = [
    ("HR_CIPHER_AES_CBC", "HR_AUTH_HMAC_SHA1_96", ref.Transform(ref.AES_CBC, 16, ref.SHA1_96)),
    ("HR_CIPHER_AES_CBC", "HR_AUTH_HMAC_SHA2_256_128", ref.Transform(ref.AES_CBC, 32, ref.SHA256_128)),
    ("HR_CIPHER_AES_CBC", "HR_AUTH_HMAC_SHA2_384_192", ref.Transform(ref.AES_CBC, 24, ref.SHA384_192)),
    ("HR_CIPHER_AES_CBC", "HR_AUTH_HMAC_SHA2_512_256", ref.Transform(ref.AES_CBC, 32, ref.SHA512_256)),
    ("HR_CIPHER_AES_CBC", "HR_AUTH_HMAC_MD5_96", ref.Transform(ref.AES_CBC, 16, ref.MD5_96)),
    ("HR_CIPHER_AES_GCM16", "HR_AUTH_NONE", ref.Transform(ref.AES_GCM, 20, ref.NO_AUTH)),
    ("HR_CIPHER_AES_GCM16", "HR_AUTH_NONE", ref.Transform(ref.AES_GCM, 28, ref.NO_AUTH)),
    ("HR_CIPHER_AES_GCM16", "HR_AUTH_NONE", ref.Transform(ref.AES_GCM, 36, ref.NO_AUTH)),
    ("HR_CIPHER_DES_CBC", "HR_AUTH_HMAC_SHA1_96", ref.Transform(ref.DES_CBC, 8, ref.SHA1_96)),
    ("HR_CIPHER_3DES_CBC", "HR_AUTH_HMAC_SHA1_96", ref.Transform(ref.TRIPLE_DES_CBC, 24, ref.SHA1_96)),
]


def pattern(size: int, packet: int, step: int, start: int) -> bytes:
    """The octets that selftest.c calls a pattern."""
    return bytes((packet * 37 + i * step + start) & 0xFF for i in range(size))


def answer(t: ref.Transform) -> bytes:
    """The ICVs of all packets, summed up in a way that knows their order."""
    total = bytes(16)
    for p in range(PACKETS):
        key = pattern(t.key_len, p, 13, 1)
        auth_key = pattern(ref.auth_key_len(t.auth), p, 5, 3)
        secret = pattern(16, p, 29, 11)
        seq = (p + 1) | (p & 1) << 33
        unit = 36 if t.cipher == ref.AES_GCM else ref.BLOCK[t.cipher]
        text = pattern((1 + p * 7 % 37) * unit, p, 17, 5)
        transform = ref.Transform(t.cipher, t.key_len, t.auth, esn=bool(p & 1))
        packet = ref.seal(transform, key, auth_key, 0x1000 + p, seq, ref.iv_of(t, key, secret, seq), text)
        icv = packet[-ref.icv_len(t.auth) :]
        total = bytes((5 * a + icv[i % len(icv)]) & 0xFF for i, a in enumerate(total))
    return total


def rows() -> list[str]:
    """The lines of the table in selftest.c."""
    out = []
    for cipher, auth, t in TABLE:
        octets = ", ".join(f"0x{x:02x}" for x in answer(t))
        out.append(f"\t{{{cipher}, {auth}, {t.key_len}, {ref.auth_key_len(t.auth)},\n\t {{{octets}}}}},")
    return out


if __name__ == "__main__":
    print("\n".join(rows()))
