"""The key log: Wireshark reads it, nobody else does."""

from __future__ import annotations

import shutil
import stat
import struct
import subprocess
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives import hashes, hmac
from cryptography.hazmat.primitives.ciphers import Cipher as Encryptor
from cryptography.hazmat.primitives.ciphers import algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from headrace.model import Auth, Cipher, Endpoint
from headrace.shell.keylog import ESP_FILE, IKE_FILE, KeyLog, esp_line, ike_line
from headrace.shell.secretfile import SecretError
from headrace.stack.events import EspKey

if TYPE_CHECKING:
    from pathlib import Path

A = Endpoint.of("203.0.113.9", 4500)
B = Endpoint.of("198.51.100.1", 4500)
CBC = EspKey(A, B, 0xC0FFEE01, Cipher.AES_CBC, Auth.HMAC_SHA1_96, bytes(range(32)), bytes(range(20)))
GCM = EspKey(A, B, 0x01020304, Cipher.AES_GCM16, Auth.NONE, bytes(range(36)), b"")


def test_lines_as_wireshark_writes_them() -> None:
    assert ike_line(bytes(range(8)), b"\xaa" * 4) == "0001020304050607,aaaaaaaa"
    assert esp_line(CBC) == (
        '"IPv4","203.0.113.9","198.51.100.1","0xc0ffee01","AES-CBC [RFC3602]",'
        f'"0x{bytes(range(32)).hex()}","HMAC-SHA-1-96 [RFC2404]","0x{bytes(range(20)).hex()}"'
    )
    assert '"AES-GCM with 16 octet ICV [RFC4106]"' in esp_line(GCM)
    assert esp_line(GCM).endswith('"NULL",""')
    six = Endpoint.of("2001:db8::1", 4500)
    assert esp_line(EspKey(six, six, 256, Cipher.NULL, Auth.HMAC_MD5_96, b"", b"k")).startswith('"IPv6","2001:db8::1",')


@pytest.mark.parametrize("cipher", list(Cipher))
@pytest.mark.parametrize("auth", list(Auth))
def test_every_transform_has_a_name(cipher: Cipher, auth: Auth) -> None:
    assert esp_line(EspKey(A, B, 1, cipher, auth, b"k", b"a"))


def test_files_are_for_us_alone(tmp_path: Path) -> None:
    with KeyLog(tmp_path / "keys") as log:
        log.ike(bytes(8), b"key")
        log.esp(CBC)
        log.esp(GCM)
        assert (tmp_path / "keys" / IKE_FILE).read_text() == ike_line(bytes(8), b"key") + "\n"  # at once, not at the end
    assert stat.S_IMODE((tmp_path / "keys").stat().st_mode) == 0o700
    for name, lines in ((IKE_FILE, 1), (ESP_FILE, 2)):
        path = tmp_path / "keys" / name
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert path.read_text().count("\n") == lines
    with KeyLog(tmp_path / "keys") as log:  # a second run adds to them
        log.esp(CBC)
    assert (tmp_path / "keys" / ESP_FILE).read_text().count("\n") == 3
    log.close()
    log.esp(CBC)


def test_files_open_to_others_or_links_are_refused(tmp_path: Path) -> None:
    (tmp_path / ESP_FILE).write_text("")
    (tmp_path / ESP_FILE).chmod(0o644)
    with pytest.raises(SecretError, match="can be read by others"):
        KeyLog(tmp_path)
    (tmp_path / ESP_FILE).unlink()
    (tmp_path / ESP_FILE).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(SecretError, match="key log"):
        KeyLog(tmp_path)
    assert not (tmp_path / "elsewhere").exists()
    (tmp_path / "file").write_text("")
    with pytest.raises(SecretError, match="key log"):
        KeyLog(tmp_path / "file" / "keys")


def esp_packet(key: EspKey, payload: bytes) -> bytes:
    """One ESP packet of a payload of UDP, sequence number 1."""
    header = struct.pack(">II", key.spi, 1)
    if key.cipher == Cipher.AES_GCM16:
        pad = -(len(payload) + 2) % 4
        text = payload + bytes(range(1, pad + 1)) + bytes((pad, 17))
        iv = b"\x07" * 8
        return header + iv + AESGCM(key.enc_key[:-4]).encrypt(key.enc_key[-4:] + iv, text, header)
    pad = -(len(payload) + 2) % 16
    text = payload + bytes(range(1, pad + 1)) + bytes((pad, 17))
    iv = b"\x07" * 16
    encryptor = Encryptor(algorithms.AES(key.enc_key), modes.CBC(iv)).encryptor()
    body = header + iv + encryptor.update(text)
    mac = hmac.HMAC(key.auth_key, hashes.SHA1())
    mac.update(body)
    return body + mac.finalize()[:12]


@pytest.mark.skipif(shutil.which("tshark") is None, reason="needs tshark")
@pytest.mark.parametrize("key", [CBC, GCM], ids=["aes-cbc", "aes-gcm"])
def test_wireshark_decrypts_with_it(tmp_path: Path, key: EspKey) -> None:
    payload = struct.pack(">HHHH", 1701, 1701, 8 + 12, 0) + b"hello inside"
    inner = esp_packet(key, payload)
    frame = struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(inner), 1, 0, 64, 50, 0) + A.address.packed + B.address.packed + inner
    capture = (
        struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 101) + struct.pack("<IIII", 0, 0, len(frame), len(frame)) + frame
    )
    (tmp_path / "x.pcap").write_bytes(capture)
    with KeyLog(tmp_path / "profile") as log:
        log.esp(key)
    seen = subprocess.run(
        ["tshark", "-r", str(tmp_path / "x.pcap"), "-o", "esp.enable_encryption_decode:TRUE", "-V"],
        env={"WIRESHARK_CONFIG_DIR": str(tmp_path / "profile"), "PATH": "/usr/bin:/bin", "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "User Datagram Protocol, Src Port: 1701" in seen.stdout, seen.stderr
