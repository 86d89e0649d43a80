"""The calls of the kernel that no program under judgement needs, refused by the kernel.

Namespaces hide files, processes and network.  This closes what they leave open: further
namespaces (each a way into rarely used code of the kernel), keys of the session, other processes'
memory, and sockets that belong to no network namespace (a virtual machine's line to its host).
"""

import errno
import platform
import struct

# Linux: arch/x86/entry/syscalls/syscall_64.tbl, include/uapi/asm-generic/unistd.h.
_CALLS = {
    # name: (x86_64, aarch64)
    "acct": (163, 89),
    "add_key": (248, 217),
    "bpf": (321, 280),
    "chroot": (161, 51),
    "delete_module": (176, 106),
    "fanotify_init": (300, 262),
    "finit_module": (313, 273),
    "fsconfig": (431, 431),
    "fsmount": (432, 432),
    "fsopen": (430, 430),
    "fspick": (433, 433),
    "init_module": (175, 105),
    "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427),
    "io_uring_setup": (425, 425),
    "kcmp": (312, 272),
    "kexec_file_load": (320, 294),
    "kexec_load": (246, 104),
    "keyctl": (250, 219),
    "memfd_create": (319, 279),
    "memfd_secret": (447, 447),
    "mount": (165, 40),
    "mount_setattr": (442, 442),
    "move_mount": (429, 429),
    "open_by_handle_at": (304, 265),
    "open_tree": (428, 428),
    "perf_event_open": (298, 241),
    "pivot_root": (155, 41),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "ptrace": (101, 117),
    "quotactl": (179, 60),
    "reboot": (169, 142),
    "request_key": (249, 218),
    "setns": (308, 268),
    "shmget": (29, 194),
    "swapoff": (168, 225),
    "swapon": (167, 224),
    "syslog": (103, 116),
    "umount2": (166, 39),
    "unshare": (272, 97),
    "userfaultfd": (323, 282),
}
_CLONE, _CLONE3, _SOCKET, _PRLIMIT = (56, 220), (435, 435), (41, 198), (302, 261)
_AUDIT = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
_NEW_NAMESPACES = 0x7E020000
_FAMILIES = {"unix": 1, "inet": 2, "inet6": 10, "netlink": 16}

_LOAD, _EQUAL, _ABOVE, _ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_NUMBER, _ARCHITECTURE, _FIRST_ARGUMENT = 0, 4, 16
_ALLOW, _KILL, _ERRNO = 0x7FFF0000, 0x80000000, 0x00050000
_FIRST_X32 = 0x40000000


def seccomp_filter(machine: str | None = None) -> bytes | None:
    """A filter in the kernel's form (an array of `sock_filter`).

    Args:
        machine: Architecture; this machine's where not given.

    Returns:
        The filter; `None` for architectures whose numbers are not in the table.
    """
    machine = machine or platform.machine()
    if machine not in _AUDIT:
        return None
    which = list(_AUDIT).index(machine)
    refuse, unknown = _return(_ERRNO | errno.EPERM), _return(_ERRNO | errno.ENOSYS)
    parts = [_load(_ARCHITECTURE), _step(_EQUAL, _AUDIT[machine], 1, 0), _return(_KILL)]
    parts += [_load(_NUMBER), _step(_ABOVE, _FIRST_X32, 0, 1), unknown]
    for numbers in _CALLS.values():
        parts += [_step(_EQUAL, numbers[which], 0, 1), refuse]
    # Its flags lie in memory, which a filter cannot read; the C library then takes `clone`.
    parts += [_step(_EQUAL, _CLONE3[which], 0, 1), unknown]
    parts += [_step(_EQUAL, _CLONE[which], 0, 4), _load(_FIRST_ARGUMENT)]
    parts += [_step(_ANY_BIT, _NEW_NAMESPACES, 0, 1), refuse, _return(_ALLOW)]
    # Limits of other processes: the first one of a sandbox may be of the same user.
    parts += [_step(_EQUAL, _PRLIMIT[which], 0, 4), _load(_FIRST_ARGUMENT)]
    parts += [_step(_EQUAL, 0, 0, 1), _return(_ALLOW), refuse]
    parts += [_step(_EQUAL, _SOCKET[which], 1, 0), _return(_ALLOW), _load(_FIRST_ARGUMENT)]
    for family in _FAMILIES.values():
        parts += [_step(_EQUAL, family, 0, 1), _return(_ALLOW)]
    return b"".join([*parts, refuse])


def _step(code: int, value: int, if_true: int, if_false: int) -> bytes:
    """One instruction: what to do with `value`, and how many to skip then."""
    return struct.pack("=HBBI", code, if_true, if_false, value)


def _load(offset: int) -> bytes:
    return _step(_LOAD, offset, 0, 0)


def _return(value: int) -> bytes:
    return _step(_RETURN, value, 0, 0)
