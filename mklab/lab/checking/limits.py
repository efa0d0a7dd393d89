"""What a process may not do any more: use up time and memory, write files, start processes, reach a network.

Each limit is set by the process on itself, for good, before it runs what is not trusted. What a platform cannot limit
is told, and the report of a grading says it.
"""

import ctypes
import platform
import struct
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Limits", "impose"]

_LIBC = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None

# linux/prctl.h, linux/seccomp.h, linux/filter.h, linux/audit.h
_NO_NEW_PRIVS, _SET_SECCOMP, _FILTER = 38, 22, 2
_LOAD, _EQUAL, _GREATER_EQUAL, _SET, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_ALLOW, _REFUSE = 0x7FFF0000, 0x00050000
_EPERM, _ENOSYS = 1, 38
_CLONE_THREAD = 0x00010000
_X32 = 0x40000000

# Numbers of system calls: arch/x86/entry/syscalls/syscall_64.tbl, scripts/syscall.tbl.
_ARCHITECTURES = {
    "x86_64": (
        0xC000003E,
        {"clone": 56, "fork": 57, "vfork": 58, "execve": 59, "kill": 62, "ptrace": 101, "socket": 41}
        | {
            "tkill": 200,
            "execveat": 322,
            "process_vm_readv": 310,
            "process_vm_writev": 311,
            "unshare": 272,
            "setns": 308,
            "mount": 165,
        },
    ),
    "aarch64": (
        0xC00000B7,
        {"clone": 220, "execve": 221, "kill": 129, "ptrace": 117, "socket": 198, "tkill": 130}
        | {
            "execveat": 281,
            "process_vm_readv": 270,
            "process_vm_writev": 271,
            "unshare": 97,
            "setns": 268,
            "mount": 40,
        },
    ),
}
_EVERYWHERE = {"pidfd_send_signal": 424, "io_uring_setup": 425, "pidfd_open": 434, "pidfd_getfd": 438}
_CLONE3 = 435

# linux/landlock.h
_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_READ = 1 << 0 | 1 << 2 | 1 << 3  # execute, read a file, read a folder
_WRITE = 1 << 1 | 1 << 4 | 1 << 5 | 1 << 7 | 1 << 8 | 1 << 14
_HANDLED = {1: (1 << 13) - 1, 2: (1 << 14) - 1, 3: (1 << 15) - 1}


@dataclass(frozen=True)
class Limits:
    """What is allowed.

    Attributes:
        seconds: of the processor's time.
        memory: bytes of address space.
        file_size: bytes of any file.
        readable: folders that may be read.
        writable: a folder that may be written to.
    """

    seconds: int
    memory: int
    file_size: int
    readable: Sequence[str]
    writable: str


def impose(limits: Limits) -> list[str]:
    """Limit this process and all it starts.

    Returns:
        What could not be limited: any of ``time``, ``memory``, ``files``, ``processes``, ``network``.
    """
    missing = []
    if not _use_rlimits(limits):
        missing += ["time", "memory"]
    if not _close_files(limits):
        missing.append("files")
    if not _filter_calls():
        missing += ["processes", "network"]
    return missing


def _use_rlimits(limits: Limits) -> bool:
    if sys.platform == "win32":
        return False
    import resource

    resource.setrlimit(resource.RLIMIT_CPU, (limits.seconds, limits.seconds + 1))
    resource.setrlimit(resource.RLIMIT_FSIZE, (limits.file_size, limits.file_size))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform == "darwin":
        # macOS takes RLIMIT_AS and does not keep to it.
        return False
    resource.setrlimit(resource.RLIMIT_AS, (limits.memory, limits.memory))
    return True


def _filter_calls() -> bool:
    """Refuse system calls by which a process gets at others or at a network (seccomp, Linux)."""
    known = _ARCHITECTURES.get(platform.machine())
    if _LIBC is None or known is None:
        return False
    audit, numbers = known
    clone = numbers["clone"]
    refused = sorted({*numbers.values(), *_EVERYWHERE.values()} - {clone})
    # struct sock_filter: code, jump if true, jump if false, k. Each test jumps over the next one unless it holds.
    code = [
        (_LOAD, 0, 0, 4),
        (_EQUAL, 1, 0, audit),
        (_RETURN, 0, 0, _REFUSE | _ENOSYS),
        (_LOAD, 0, 0, 0),
        (_GREATER_EQUAL, 0, 1, _X32),
        (_RETURN, 0, 0, _REFUSE | _ENOSYS),
        # clone3 keeps its flags in memory, where a filter cannot look; C libraries then fall back to clone.
        (_EQUAL, 0, 1, _CLONE3),
        (_RETURN, 0, 0, _REFUSE | _ENOSYS),
        (_EQUAL, 0, 4, clone),
        (_LOAD, 0, 0, 16),
        (_SET, 1, 0, _CLONE_THREAD),
        (_RETURN, 0, 0, _REFUSE | _EPERM),
        (_RETURN, 0, 0, _ALLOW),
    ]
    for number in refused:
        code += [(_EQUAL, 0, 1, number), (_RETURN, 0, 0, _REFUSE | _EPERM)]
    code.append((_RETURN, 0, 0, _ALLOW))
    program = b"".join(struct.pack("=HBBI", *one) for one in code)
    buffer = ctypes.create_string_buffer(program, len(program))
    # struct sock_fprog: length, pointer.
    header = struct.pack("@HP", len(code), ctypes.addressof(buffer))
    if _LIBC.prctl(_NO_NEW_PRIVS, 1, 0, 0, 0):
        return False
    return not _LIBC.prctl(_SET_SECCOMP, _FILTER, header, 0, 0)


def _close_files(limits: Limits) -> bool:
    """Let only some folders be reached (Landlock, Linux since 5.13)."""
    if _LIBC is None:
        return False
    version = _LIBC.syscall(_CREATE_RULESET, None, 0, 1)
    if version < 1:
        return False
    handled = _HANDLED[min(version, 3)]
    attributes = struct.pack("@Q", handled)
    rules = _LIBC.syscall(_CREATE_RULESET, attributes, len(attributes), 0)
    if rules < 0:
        return False
    import os

    try:
        granted = [(folder, _READ) for folder in limits.readable] + [(limits.writable, _READ | _WRITE)]
        for folder, access in granted:
            if not Path(folder).exists():
                continue
            handle = os.open(folder, getattr(os, "O_PATH", 0) | os.O_CLOEXEC)
            allowed = access & handled if Path(folder).is_dir() else access & handled & (1 << 0 | 1 << 1 | 1 << 2)
            beneath = struct.pack("=Qi", allowed, handle)
            failed = _LIBC.syscall(_ADD_RULE, rules, 1, beneath, 0)
            os.close(handle)
            if failed:
                return False
        return not _LIBC.prctl(_NO_NEW_PRIVS, 1, 0, 0, 0) and not _LIBC.syscall(_RESTRICT_SELF, rules, 0)
    finally:
        os.close(rules)
