# The native library as cffi presents it. Written by tools/native_stub.py from csrc/headrace.h; a test compares the two.

from typing import Any, Final

ffi: Any

class Lib:
    HR_AUTH_HMAC_MD5_96: Final[int]
    HR_AUTH_HMAC_SHA1_96: Final[int]
    HR_AUTH_HMAC_SHA2_256_128: Final[int]
    HR_AUTH_HMAC_SHA2_256_96: Final[int]
    HR_AUTH_HMAC_SHA2_384_192: Final[int]
    HR_AUTH_HMAC_SHA2_512_256: Final[int]
    HR_AUTH_NONE: Final[int]
    HR_BATCH_MAX: Final[int]
    HR_CIPHER_3DES_CBC: Final[int]
    HR_CIPHER_AES_CBC: Final[int]
    HR_CIPHER_AES_GCM16: Final[int]
    HR_CIPHER_DES_CBC: Final[int]
    HR_CIPHER_NULL: Final[int]
    HR_DROP_ESP_AUTH: Final[int]
    HR_DROP_ESP_LENGTH: Final[int]
    HR_DROP_ESP_NEXT_HEADER: Final[int]
    HR_DROP_ESP_PADDING: Final[int]
    HR_DROP_ESP_REPLAY: Final[int]
    HR_DROP_ESP_SEQ_EXHAUSTED: Final[int]
    HR_DROP_ESP_SHORT: Final[int]
    HR_DROP_ESP_SPI: Final[int]
    HR_DROP_EXCEPTION_RING: Final[int]
    HR_DROP_GSO_MALFORMED: Final[int]
    HR_DROP_IP_MALFORMED: Final[int]
    HR_DROP_L2TP_HEADER: Final[int]
    HR_DROP_L2TP_LENGTH: Final[int]
    HR_DROP_L2TP_OFFSET: Final[int]
    HR_DROP_L2TP_SEQUENCE: Final[int]
    HR_DROP_L2TP_SESSION: Final[int]
    HR_DROP_LOOP: Final[int]
    HR_DROP_MPPE_CLEARTEXT: Final[int]
    HR_DROP_MPPE_HEADER: Final[int]
    HR_DROP_MPPE_LOST: Final[int]
    HR_DROP_MPPE_NOT_OPEN: Final[int]
    HR_DROP_MPPE_STALE: Final[int]
    HR_DROP_NATT_MARKER: Final[int]
    HR_DROP_NOT_PROTECTED: Final[int]
    HR_DROP_NO_ROUTE: Final[int]
    HR_DROP_NO_SA: Final[int]
    HR_DROP_OUTER_SHORT: Final[int]
    HR_DROP_PPP_HEADER: Final[int]
    HR_DROP_PPP_MRU: Final[int]
    HR_DROP_PPP_NOT_OPEN: Final[int]
    HR_DROP_PPP_SHORT: Final[int]
    HR_DROP_RATE: Final[int]
    HR_DROP_ROOM: Final[int]
    HR_DROP_SA_EXPIRED: Final[int]
    HR_DROP_SELECTOR: Final[int]
    HR_DROP_SOCKET: Final[int]
    HR_DROP_SPOOFED_SOURCE: Final[int]
    HR_DROP_TOO_BIG: Final[int]
    HR_DROP_TUN_MALFORMED: Final[int]
    HR_DROP_TUN_WRITE: Final[int]
    HR_DROP_UDP_LENGTH: Final[int]
    HR_DROP_WRONG_SA: Final[int]
    HR_DUMMY: Final[int]
    HR_EXC_CLEAR_L2TP: Final[int]
    HR_EXC_IKE: Final[int]
    HR_EXC_L2TP: Final[int]
    HR_EXC_MOVED: Final[int]
    HR_EXC_MPPE_RESET: Final[int]
    HR_EXC_PPP: Final[int]
    HR_EXC_SOFT_LIMIT: Final[int]
    HR_E_ARGUMENT: Final[int]
    HR_E_DESCRIPTOR: Final[int]
    HR_E_EXISTS: Final[int]
    HR_E_FULL: Final[int]
    HR_E_MEMORY: Final[int]
    HR_E_MISSING: Final[int]
    HR_E_SELFTEST: Final[int]
    HR_E_SYSTEM: Final[int]
    HR_E_UNSUPPORTED: Final[int]
    HR_FLAG_ECN_CE: Final[int]
    HR_FLAG_FIRST: Final[int]
    HR_FLAG_MPPE: Final[int]
    HR_HEADROOM: Final[int]
    HR_KEEPALIVE: Final[int]
    HR_KIND_IKE: Final[int]
    HR_KIND_IP: Final[int]
    HR_KIND_L2TP: Final[int]
    HR_KIND_NONE: Final[int]
    HR_KIND_PPP: Final[int]
    HR_KIND_RAW4: Final[int]
    HR_KIND_RAW6: Final[int]
    HR_KIND_SEND_RAW: Final[int]
    HR_KIND_SEND_UDP1701: Final[int]
    HR_KIND_SEND_UDP4500: Final[int]
    HR_KIND_UDP1701: Final[int]
    HR_KIND_UDP4500: Final[int]
    HR_LISTENERS_MAX: Final[int]
    HR_MPPE_NEVER: Final[int]
    HR_MPPE_REQUIRED: Final[int]
    HR_MPPE_WHEN_OPEN: Final[int]
    HR_NONE: Final[int]
    HR_OK: Final[int]
    HR_PENDING: Final[int]
    HR_STATUS_COUNT: Final[int]
    HR_TAILROOM: Final[int]
    HR_WORKERS_MAX: Final[int]
    def hr_counters(self, dp: Any, packets: Any, bytes_: Any) -> None: ...
    def hr_cpu_level(self) -> Any: ...
    def hr_cpu_levels(self) -> Any: ...
    def hr_crypt_block(self, key: Any) -> int: ...
    def hr_crypt_icv_len(self, key: Any) -> int: ...
    def hr_crypt_iv_len(self, key: Any) -> int: ...
    def hr_crypt_key_free(self, key: Any) -> None: ...
    def hr_crypt_key_new(
        self,
        cipher: int,
        auth: int,
        esn: int,
        enc_key: Any,
        enc_len: int,
        auth_key: Any,
        auth_len: int,
        outbound: int,
        error: Any,
    ) -> Any: ...
    def hr_crypt_open(self, keys: Any, n_keys: int, batch: Any) -> int: ...
    def hr_crypt_seal(self, keys: Any, n_keys: int, batch: Any) -> int: ...
    def hr_decap(self, dp: Any, batch: Any, now_ns: int) -> int: ...
    def hr_dp_events(self, dp: Any, event: Any, max_: int) -> int: ...
    def hr_dp_free(self, dp: Any) -> None: ...
    def hr_dp_listener(self, dp: Any, listener: int, address: Any) -> int: ...
    def hr_dp_new(self, config: Any) -> Any: ...
    def hr_encap(self, dp: Any, batch: Any, now_ns: int) -> int: ...
    def hr_engine_alive(self, engine: Any) -> int: ...
    def hr_engine_exceptions(self, engine: Any, batch: Any, slot_size: int) -> int: ...
    def hr_engine_free(self, engine: Any) -> None: ...
    def hr_engine_new(self, dp: Any, config: Any, workers: Any) -> Any: ...
    def hr_engine_send(self, engine: Any, batch: Any, now_ns: int) -> int: ...
    def hr_engine_start(self, engine: Any) -> int: ...
    def hr_engine_stats(self, engine: Any, stats: Any) -> None: ...
    def hr_engine_stop(self, engine: Any) -> int: ...
    def hr_error_text(self, error: int) -> Any: ...
    def hr_init(self) -> int: ...
    def hr_init_level(self, level: Any) -> int: ...
    def hr_ip_fragment(self, packet: Any, len_: int, mtu: int, at: Any, fragment: Any, room: int) -> int: ...
    def hr_ip_may_fragment(self, packet: Any, len_: int) -> int: ...
    def hr_ip_too_big(self, packet: Any, len_: int, mtu: int, reply: Any, room: int) -> int: ...
    def hr_kernel_name(self, index: int) -> Any: ...
    def hr_md4(self, data: Any, len_: int, digest: Any) -> None: ...
    def hr_peer_add(self, dp: Any, config: Any, index: Any) -> int: ...
    def hr_peer_get(self, dp: Any, index: int, config: Any) -> int: ...
    def hr_peer_remove(self, dp: Any, index: int) -> int: ...
    def hr_peer_update(self, dp: Any, index: int, config: Any) -> int: ...
    def hr_sa_add(self, dp: Any, config: Any, index: Any) -> int: ...
    def hr_sa_export(self, dp: Any, index: int, config: Any) -> int: ...
    def hr_sa_remove(self, dp: Any, index: int) -> int: ...
    def hr_sa_stats(self, dp: Any, index: int, stats: Any) -> int: ...
    def hr_sa_use(self, dp: Any, index: int) -> int: ...
    def hr_session_add(self, dp: Any, config: Any, index: Any) -> int: ...
    def hr_session_mppe(self, dp: Any, index: int, config: Any) -> int: ...
    def hr_session_mppe_export(self, dp: Any, index: int, outbound: int, config: Any) -> int: ...
    def hr_session_mppe_flush(self, dp: Any, index: int) -> int: ...
    def hr_session_remove(self, dp: Any, index: int) -> int: ...
    def hr_session_stats(self, dp: Any, index: int, stats: Any) -> int: ...
    def hr_session_update(self, dp: Any, index: int, config: Any) -> int: ...
    def hr_status_text(self, status: int) -> Any: ...
    def hr_version(self) -> Any: ...
    def hr_wipe(self, memory: Any, len_: int) -> None: ...

lib: Lib
