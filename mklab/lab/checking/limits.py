"""What a process may not do any more: use up time and memory, write files, start processes, reach a network.

Each limit is set by the process on itself, for good, before it runs what is not trusted. What a platform cannot limit
is told, and the report of a grading says it.
"""

import ctypes
import errno
import os
import platform
import struct
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Limits", "impose", "unlimited"]

_LIBC = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None

# linux/prctl.h, linux/seccomp.h, linux/filter.h, linux/audit.h, linux/capability.h
_NO_NEW_PRIVS, _SET_SECCOMP, _FILTER = 38, 22, 2
_LOAD, _EQUAL, _GREATER_EQUAL, _SET, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_ALLOW, _REFUSE = 0x7FFF0000, 0x00050000
_NUMBER, _ARCHITECTURE, _FIRST, _SECOND = 0, 4, 16, 24
"""struct seccomp_data: the call's number, the architecture, and the lower halves of its first two arguments."""
_CLONE_THREAD = 0x00010000
_X32 = 0x40000000
_CAPABILITIES_V3 = 0x20080522
_FILES = 256
"""Open at the same time."""

_AUDIT = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
# Numbers of system calls on both: arch/x86/entry/syscalls/syscall_64.tbl, scripts/syscall.tbl.
_SOCKET = 41, 198
_CLONE, _CLONE3, _PRLIMIT = (56, 220), (435, 435), (302, 261)
_TGKILL, _FCNTL, _IOCTL = (234, 131), (72, 25), (16, 29)
_STARTING = {"fork": (57,), "vfork": (58,), "execve": (59, 221), "execveat": (322, 281)}
_REACHING = {
    # other processes
    "kill": (62, 129),
    "tkill": (200, 130),
    "rt_sigqueueinfo": (129, 138),
    "rt_tgsigqueueinfo": (297, 240),
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "kcmp": (312, 272),
    "setpriority": (141, 140),
    "sched_setparam": (142, 118),
    "sched_setscheduler": (144, 119),
    "sched_setaffinity": (203, 122),
    "sched_setattr": (314, 274),
    "ioprio_set": (251, 30),
    "migrate_pages": (256, 238),
    "move_pages": (279, 239),
    "pidfd_send_signal": (424, 424),
    "pidfd_open": (434, 434),
    "pidfd_getfd": (438, 438),
    "process_madvise": (440, 440),
    "process_mrelease": (448, 448),
    # the system
    "unshare": (272, 97),
    "setns": (308, 268),
    "mount": (165, 40),
    "bpf": (321, 280),
    "perf_event_open": (298, 241),
    "io_uring_setup": (425, 425),
    # what does not count as memory of the process, or outlives it
    "memfd_create": (319, 279),
    "shmget": (29, 194),
    "semget": (64, 190),
    "msgget": (68, 186),
    "mq_open": (240, 180),
    "add_key": (248, 217),
    "request_key": (249, 218),
    "keyctl": (250, 219),
}
_OWNERS = {_FCNTL: (8, 10, 15), _IOCTL: (0x8901, 0x8902)}
"""F_SETOWN, F_SETSIG, F_SETOWN_EX, FIOSETOWN, SIOCSPGRP: they say which process a file sends which signal."""

# linux/landlock.h
_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_READ = 1 << 0 | 1 << 2 | 1 << 3  # execute, read a file, read a folder
_WRITE = 1 << 1 | 1 << 4 | 1 << 5 | 1 << 7 | 1 << 8 | 1 << 13 | 1 << 14
"""Write a file, remove folders and files, make folders and files, rename from folder to folder, truncate."""
_OF_FILES = 1 << 0 | 1 << 1 | 1 << 2 | 1 << 14
_HANDLED = {1: (1 << 13) - 1, 2: (1 << 14) - 1, 3: (1 << 15) - 1}


@dataclass(frozen=True)
class Limits:
    """What is allowed.

    Attributes:
        memory: bytes of address space.
        file_size: bytes of any file.
        seconds: of the processor's time; None: not limited here.
        readable: folders and files that may be read; None: files are not limited here.
        writable: a folder that may be written to; None: nothing may be written.
        processes: whether it may start others, and those what they like, within the other limits.
    """

    memory: int
    file_size: int
    seconds: int | None = None
    readable: Sequence[str] | None = None
    writable: str | None = None
    processes: bool = False


def impose(limits: Limits) -> list[str]:
    """Limit this process and all it starts.

    Returns:
        What could not be limited: any of ``time``, ``memory``, ``files``, ``processes``, ``network``.
    """
    missing = _use_rlimits(limits)
    if limits.readable is not None and not _close_files(limits):
        missing.append("files")
    if not _filter_calls(limits.processes):
        missing += ["network"] if limits.processes else ["processes", "network"]
    return missing


def unlimited() -> list[str]:
    """What this platform cannot limit, in the words of :func:`impose`; nothing is limited by asking."""
    missing = _missing_rlimits()
    if _landlock() < 1:
        missing.append("files")
    # A filter that lies nowhere: EFAULT is what only a kernel says that would have taken it.
    known = _LIBC is not None and platform.machine() in _AUDIT
    if not known or not (
        _LIBC and _LIBC.prctl(_SET_SECCOMP, _FILTER, None, 0, 0) and ctypes.get_errno() == errno.EFAULT
    ):
        missing += ["processes", "network"]
    return missing


def _missing_rlimits() -> list[str]:
    if sys.platform == "win32":
        return ["time", "memory"]
    # macOS takes RLIMIT_AS and does not keep to it.
    return ["memory"] if sys.platform == "darwin" else []


def _use_rlimits(limits: Limits) -> list[str]:
    """Limit time, memory and the size of files; return what could not be limited."""
    if sys.platform != "win32":
        import resource

        if limits.seconds is not None:
            resource.setrlimit(resource.RLIMIT_CPU, (limits.seconds, limits.seconds + 1))
        resource.setrlimit(resource.RLIMIT_FSIZE, (limits.file_size, limits.file_size))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        if not limits.processes:
            # A pipe is memory, too.
            resource.setrlimit(resource.RLIMIT_NOFILE, (_FILES, _FILES))
        if sys.platform != "darwin":
            resource.setrlimit(resource.RLIMIT_AS, (limits.memory, limits.memory))
        if _LIBC is not None and not limits.processes:
            # Root could raise them again, and do much else: it keeps its name and loses its capabilities.
            _LIBC.capset(struct.pack("=Ii", _CAPABILITIES_V3, 0), bytes(24))
    return _missing_rlimits()


def _filter_calls(processes: bool) -> bool:
    """Refuse system calls by which a process gets at others, or at a network (seccomp, Linux).

    Args:
        processes: whether it may start others, and may send signals to them.
    """
    machine = platform.machine()
    if _LIBC is None or machine not in _AUDIT:
        return False
    place = list(_AUDIT).index(machine)
    refuse, absent, allow = (_REFUSE | errno.EPERM), (_REFUSE | errno.ENOSYS), _ALLOW
    # Each test (struct sock_filter: code, jump if true, jump if false, k) jumps over what follows it unless it holds.
    code = [(_LOAD, 0, 0, _ARCHITECTURE), (_EQUAL, 1, 0, _AUDIT[machine]), (_RETURN, 0, 0, absent)]
    code += [(_LOAD, 0, 0, _NUMBER), (_GREATER_EQUAL, 0, 1, _X32), (_RETURN, 0, 0, absent)]
    code += [(_EQUAL, 0, 1, _SOCKET[place]), (_RETURN, 0, 0, refuse)]
    # Limits of others: the process itself is 0.
    code += _only(_PRLIMIT[place], _FIRST, _EQUAL, 0)
    if not processes:
        # clone3 keeps its flags in memory, where a filter cannot look; C libraries then fall back to clone.
        code += [(_EQUAL, 0, 1, _CLONE3[place]), (_RETURN, 0, 0, absent)]
        code += _only(_CLONE[place], _FIRST, _SET, _CLONE_THREAD)
        # abort() sends itself a signal by it.
        code += _only(_TGKILL[place], _FIRST, _EQUAL, os.getpid())
        for numbers, commands in _OWNERS.items():
            tests = [one for command in commands for one in ((_EQUAL, 0, 1, command), (_RETURN, 0, 0, refuse))]
            code += [(_EQUAL, 0, len(tests) + 2, numbers[place]), (_LOAD, 0, 0, _SECOND), *tests]
            code.append((_RETURN, 0, 0, allow))
        for several in (*_STARTING.values(), *_REACHING.values()):
            # aarch64 has no fork and no vfork.
            code += [one for at in several[place:][:1] for one in ((_EQUAL, 0, 1, at), (_RETURN, 0, 0, refuse))]
    code.append((_RETURN, 0, 0, allow))
    program = b"".join(struct.pack("=HBBI", *one) for one in code)
    buffer = ctypes.create_string_buffer(program, len(program))
    # struct sock_fprog: length, pointer.
    header = struct.pack("@HP", len(code), ctypes.addressof(buffer))
    if _LIBC.prctl(_NO_NEW_PRIVS, 1, 0, 0, 0):
        return False
    return not _LIBC.prctl(_SET_SECCOMP, _FILTER, header, 0, 0)


def _only(number: int, argument: int, test: int, value: int) -> list[tuple[int, int, int, int]]:
    """Allow the system call ``number`` only where its ``argument`` passes ``test`` with ``value``."""
    ends = [(_RETURN, 0, 0, _ALLOW), (_RETURN, 0, 0, _REFUSE | errno.EPERM)]
    return [(_EQUAL, 0, 4, number), (_LOAD, 0, 0, argument), (test, 0, 1, value), *ends]


def _landlock() -> int:
    """The version of Landlock, 0 or less where there is none."""
    return -1 if _LIBC is None else int(_LIBC.syscall(_CREATE_RULESET, None, 0, 1))


def _close_files(limits: Limits) -> bool:
    """Let only some folders and files be reached (Landlock, Linux since 5.13)."""
    version = _landlock()
    # The first version lets nobody rename a file from folder to folder, as a compiler does.
    if _LIBC is None or version < (1 if limits.writable is None else 2):
        return False
    handled = _HANDLED[min(version, 3)]
    attributes = struct.pack("@Q", handled)
    rules = _LIBC.syscall(_CREATE_RULESET, attributes, len(attributes), 0)
    if rules < 0:
        return False
    try:
        granted = [(place, _READ) for place in limits.readable or ()]
        granted += [(limits.writable, _READ | _WRITE)] if limits.writable is not None else []
        for place, access in granted:
            if not Path(place).exists():
                continue
            handle = os.open(place, getattr(os, "O_PATH", 0) | os.O_CLOEXEC)
            allowed = access & handled if Path(place).is_dir() else access & handled & _OF_FILES
            beneath = struct.pack("=Qi", allowed, handle)
            failed = _LIBC.syscall(_ADD_RULE, rules, 1, beneath, 0)
            os.close(handle)
            if failed:
                return False
        return not _LIBC.prctl(_NO_NEW_PRIVS, 1, 0, 0, 0) and not _LIBC.syscall(_RESTRICT_SELF, rules, 0)
    finally:
        os.close(rules)
