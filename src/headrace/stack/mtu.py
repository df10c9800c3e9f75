"""How large an inner packet may be so that its outer packet fits the path unfragmented."""

from __future__ import annotations

from headrace.model import Auth, Cipher

_BLOCK = {Cipher.NULL: 4, Cipher.DES_CBC: 8, Cipher.TRIPLE_DES_CBC: 8, Cipher.AES_CBC: 16, Cipher.AES_GCM16: 4}
_IV = {Cipher.NULL: 0, Cipher.DES_CBC: 8, Cipher.TRIPLE_DES_CBC: 8, Cipher.AES_CBC: 16, Cipher.AES_GCM16: 8}
_ICV = {
    Auth.NONE: 0,
    Auth.HMAC_MD5_96: 12,
    Auth.HMAC_SHA1_96: 12,
    Auth.HMAC_SHA2_256_128: 16,
    Auth.HMAC_SHA2_384_192: 24,
    Auth.HMAC_SHA2_512_256: 32,
    Auth.HMAC_SHA2_256_96: 12,
}
_OUTER_UDP = 8
_ESP_HEADER = 8
_ESP_TRAILER = 2
_INNER_UDP = 8
_L2TP = 6
_L2TP_NUMBERS = 4
_PPP = 4
MPPE = 4
"""Octets that MPPE takes of a PPP information field: its header, and the protocol number it wraps (RFC 3078 section 3)."""
TCP_IP4 = 40
"""IPv4 and TCP headers without options: what lies between MTU and MSS."""
TCP_IP6 = 60
"""The same with IPv6."""


def inner_mtu(
    path_mtu: int, ip_version: int, cipher: Cipher, auth: Auth, *, udp_encap: bool, mppe: bool, numbered: bool
) -> int:
    """The largest inner IP packet, in octets, for a path of ``path_mtu`` octets.

    Layers in order: outer IP, UDP with NAT-T, ESP header and IV, padding to the block with the trailer, ICV, and inside UDP, L2TP without a
    length field, PPP with address and control, MPPE with the protocol it wraps.
    """
    outer = (20 if ip_version == 4 else 40) + (_OUTER_UDP if udp_encap else 0)
    icv = 16 if cipher is Cipher.AES_GCM16 else _ICV[auth]
    text = path_mtu - outer - _ESP_HEADER - _IV[cipher] - icv
    text -= text % _BLOCK[cipher]
    inside = _INNER_UDP + _L2TP + (_L2TP_NUMBERS if numbered else 0) + _PPP + (MPPE if mppe else 0)
    return text - _ESP_TRAILER - inside
