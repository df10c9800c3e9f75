"""Which queue of a TUN a packet waits in: by its destination, so that everything for one client stays with one worker, in order.

Left to itself the kernel shares packets out by flow. Two flows of one session then meet in two workers, which number and encrypt them
at the same time and send them in any order: ESP's replay window forgives that, MPPE does not. A small eBPF program
(``TUNSETSTEERINGEBPF``, linux/if_tun.h) says otherwise.
"""

from __future__ import annotations

import ctypes
import os
import platform
import struct
from typing import Final

_BPF_SYSCALL: Final = {"x86_64": 321, "aarch64": 280, "riscv64": 280, "ppc64le": 361, "s390x": 351}
_BPF_PROG_LOAD: Final = 5
_SOCKET_FILTER: Final = 1  # BPF_PROG_TYPE_SOCKET_FILTER

_LOAD_OCTET: Final = 0x30  # r0 = octet k of the packet; r6 is the packet, and a load behind its end ends the program with 0
_LOAD_WORD: Final = 0x20
_MOVE: Final = 0xBF
_XOR: Final = 0xAF
_SHIFT: Final = 0x77
_SHIFT32: Final = 0x74
_MULTIPLY32: Final = 0x24
_JUMP_EQUAL: Final = 0x15
_JUMP: Final = 0x05
_EXIT: Final = 0x95

PROGRAM: Final = (  # code, destination, source, offset, constant
    (_MOVE, 6, 1, 0, 0),
    (_LOAD_OCTET, 0, 0, 0, 0),
    (_SHIFT, 0, 0, 0, 4),
    (_JUMP_EQUAL, 0, 0, 2, 6),
    (_LOAD_WORD, 0, 0, 0, 16),  # IPv4 destination
    (_JUMP, 0, 0, 4, 0),
    (_LOAD_WORD, 0, 0, 0, 24),  # IPv6 destination, upper half: a client may have a whole /64
    (_MOVE, 7, 0, 0, 0),
    (_LOAD_WORD, 0, 0, 0, 28),
    (_XOR, 0, 7, 0, 0),
    (_MULTIPLY32, 0, 0, 0, 0x9E3779B1 - (1 << 32)),  # neighbours shall not share a queue: multiply by the golden ratio
    (_SHIFT32, 0, 0, 0, 16),
    (_EXIT, 0, 0, 0, 0),
)
"""The kernel takes the result modulo the number of queues."""


def load() -> int:
    """Load the program; its descriptor, for the caller to close. Raises ``OSError`` where the system does not allow it."""
    number = _BPF_SYSCALL.get(platform.machine())
    if number is None:
        raise OSError(f"the bpf system call's number on {platform.machine()} is not known")
    code = b"".join(struct.pack("=BBhi", op, dst | src << 4, off, imm) for op, dst, src, off, imm in PROGRAM)
    instructions = ctypes.create_string_buffer(code, len(code))
    licence = ctypes.create_string_buffer(b"Apache-2.0")
    # union bpf_attr, the members of BPF_PROG_LOAD up to kern_version
    attr = struct.pack(
        "=IIQQIIQI", _SOCKET_FILTER, len(PROGRAM), ctypes.addressof(instructions), ctypes.addressof(licence), 0, 0, 0, 0
    )
    memory = ctypes.create_string_buffer(attr, len(attr))
    libc = ctypes.CDLL(None, use_errno=True)
    fd = int(libc.syscall(number, _BPF_PROG_LOAD, memory, len(attr)))
    if fd < 0:
        code_of = ctypes.get_errno()
        raise OSError(code_of, os.strerror(code_of))
    return fd
