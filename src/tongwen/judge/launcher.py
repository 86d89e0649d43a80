"""Makes one sandbox of the kernel's namespaces; runs alone, as a program, never imported.

    python -I -S launcher.py CONFIG STATUS

Both are descriptors: of a file with what `namespaces.command` wrote, and of a pipe that is told the
number of the sandbox's first process and at its end how the program ended, as bubblewrap tells it.

Three processes: one waits outside; the first one inside makes the file system, drops every right
and waits for what else may be started; the program is its child.
"""

import ctypes
import json
import os
import resource
import signal
import socket
import struct
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any, Never

# Linux: include/uapi/linux/sched.h, mount.h, prctl.h, capability.h.
_NEW_MOUNTS, _NEW_HOST_NAME, _NEW_IPC = 0x20000, 0x4000000, 0x8000000
_NEW_USER, _NEW_PROCESSES, _NEW_NETWORK = 0x10000000, 0x20000000, 0x40000000
_READ_ONLY, _NO_SUID, _NO_DEVICES, _NO_EXEC, _REMOUNT, _BIND, _RECURSIVE, _PRIVATE = (
    1, 2, 4, 8, 32, 4096, 16384, 1 << 18,
)  # fmt: skip
_DETACH, _HERE, _ALL_BELOW = 2, -100, 0x8000
_DIE_WITH_PARENT, _DUMPABLE, _SECCOMP, _DROP_BOUND, _NO_NEW_RIGHTS, _AMBIENT = 1, 4, 22, 24, 38, 47
_CLEAR_AMBIENT, _FILTER = 4, 2
_CAPABILITIES_VERSION, _NUM_CAPABILITIES = 0x20080522, 64
_PIVOT_ROOT = {"x86_64": 155, "aarch64": 41}
_CAPSET = {"x86_64": 126, "aarch64": 91}
_MOUNT_SETATTR = 442
_NOBODY = 65534
_DEVICES = ("null", "zero", "full", "random", "urandom")
_OLD, _NEW = "/old", "/new"

_Word = int | bytes | ctypes.c_long | ctypes.c_ulong | ctypes.c_char_p | None
_libc = ctypes.CDLL(None, use_errno=True)


def main() -> Never:
    """Make the sandbox, run the program, end as it ends."""
    config_file, status = int(sys.argv[1]), int(sys.argv[2])
    with open(config_file, encoding="utf-8") as file:
        config = json.load(file)
    os.set_inheritable(status, False)
    _call("prctl", _DIE_WITH_PARENT, signal.SIGKILL, 0, 0, 0)
    _leave(is_root=config["uid"] is not None)
    first = os.fork()
    if first == 0:
        _be_first(config, status)
    os.write(status, json.dumps({"child-pid": first}).encode() + b"\n")
    _, ended = os.waitpid(first, 0)
    os._exit(os.waitstatus_to_exitcode(ended) & 0xFF)


def _leave(*, is_root: bool) -> None:
    """Go into namespaces of our own; whoever is not root needs one of users for that."""
    uid, gid = os.getuid(), os.getgid()
    new = _NEW_MOUNTS | _NEW_HOST_NAME | _NEW_IPC | _NEW_PROCESSES | _NEW_NETWORK
    _call("unshare", new if is_root else new | _NEW_USER)
    if not is_root:
        Path("/proc/self/setgroups").write_text("deny", encoding="ascii")
        Path("/proc/self/uid_map").write_text(f"{_NOBODY} {uid} 1", encoding="ascii")
        Path("/proc/self/gid_map").write_text(f"{_NOBODY} {gid} 1", encoding="ascii")


def _be_first(config: dict[str, Any], status: int) -> Never:
    """The first process: set everything up, start the program, outlive it by nothing."""
    try:
        _call("prctl", _DIE_WITH_PARENT, signal.SIGKILL, 0, 0, 0)
        os.setsid()
        socket.sethostname("sandbox")
        _make_file_system(config)
        _drop_rights(config["uid"], bytes.fromhex(config["filter"]))
        program = os.fork()
    except OSError as error:
        os.write(2, f"{error}\n".encode())
        os._exit(1)
    if program == 0:
        _be_program(config)
    while True:
        ended, how = os.wait()
        if ended == program:
            break
    code = os.waitstatus_to_exitcode(how)
    os.write(status, json.dumps({"exit-code": code if code >= 0 else 128 - code}).encode() + b"\n")
    os._exit(0)


def _be_program(config: dict[str, Any]) -> Never:
    """Become the program, within its bounds."""
    for ignored in (signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(ignored, signal.SIG_DFL)
    try:
        for name, value in config["rlimits"].items():
            resource.setrlimit(_RLIMITS[name], (value, value))
        os.execvpe(config["argv"][0], config["argv"], config["env"])
    except OSError as error:
        os.write(2, f"{config['argv'][0]}: {error.strerror}\n".encode())
    os._exit(127)


_RLIMITS = {
    "as": resource.RLIMIT_AS,
    "core": resource.RLIMIT_CORE,
    "cpu": resource.RLIMIT_CPU,
    "fsize": resource.RLIMIT_FSIZE,
    "memlock": resource.RLIMIT_MEMLOCK,
    "msgqueue": resource.RLIMIT_MSGQUEUE,
    "nofile": resource.RLIMIT_NOFILE,
    "nproc": resource.RLIMIT_NPROC,
    "sigpending": resource.RLIMIT_SIGPENDING,
}


def _make_file_system(config: dict[str, Any]) -> None:
    """Build a root that holds what the program may see, and leave the machine's own behind.

    The machine's root is moved aside first, so that nothing which lies where the new one is built
    is out of sight.
    """
    _mount("", "/", "", _RECURSIVE | _PRIVATE)
    _mount("tmpfs", "/tmp", "tmpfs", _NO_SUID | _NO_DEVICES, "mode=755")
    for name in (_OLD, _NEW):
        os.mkdir(f"/tmp{name}")
    _pivot("/tmp", f"/tmp{_OLD}")
    os.chdir("/")
    _mount("tmpfs", _NEW, "tmpfs", _NO_SUID | _NO_DEVICES, "mode=755")
    _lay_view(config)
    _lay_devices(config)
    _lay_own_files(config)
    os.mkdir(f"{_NEW}/proc")
    _mount("proc", f"{_NEW}/proc", "proc", _NO_SUID | _NO_DEVICES | _NO_EXEC)
    for name in ("/dev", ""):
        _mount("", _NEW + name, "", _REMOUNT | _BIND | _READ_ONLY | _NO_SUID)
    _call("umount2", _OLD.encode(), _DETACH)
    os.chdir(_NEW)
    _pivot(".", ".")
    _call("umount2", b".", _DETACH)
    os.chdir(config["workplace"])


def _lay_view(config: dict[str, Any]) -> None:
    for name in config["parents"]:
        os.makedirs(_NEW + name, mode=0o755, exist_ok=True)
    for seen, there in config["folders"].items():
        _lay(_OLD + os.path.realpath(_OLD + there).removeprefix(_OLD), _NEW + seen)
        attributes = struct.pack("=QQQQ", _READ_ONLY | _NO_SUID | _NO_DEVICES, 0, 0, 0)
        place = (_NEW + seen).encode()
        _syscall(_MOUNT_SETATTR, _HERE, place, _ALL_BELOW, attributes, len(attributes))
    for name, target in config["links"].items():
        os.symlink(target, _NEW + name)
    for name in config["hidden"]:
        _mount("tmpfs", _NEW + name, "tmpfs", _READ_ONLY | _NO_SUID | _NO_DEVICES, "mode=755")


def _lay(source: str, place: str) -> None:
    """Show a folder or file at another place too."""
    if os.path.isdir(source):
        os.makedirs(place, exist_ok=True)
    else:
        Path(place).touch()
    _mount(source, place, "", _BIND | _RECURSIVE)


def _lay_devices(config: dict[str, Any]) -> None:
    os.mkdir(f"{_NEW}/dev")
    _mount("tmpfs", f"{_NEW}/dev", "tmpfs", _NO_SUID, "mode=755")
    for name in _DEVICES:
        _lay(f"{_OLD}/dev/{name}", f"{_NEW}/dev/{name}")
    for name, target in (("fd", ""), ("stdin", "/0"), ("stdout", "/1"), ("stderr", "/2")):
        os.symlink(f"/proc/self/fd{target}", f"{_NEW}/dev/{name}")
    _writable("/dev/shm", config)


def _writable(name: str, config: dict[str, Any]) -> None:
    os.mkdir(_NEW + name)
    bounds = f"mode=777,size={config['disk_bytes']},nr_inodes={config['num_files'] + 1}"
    _mount("tmpfs", _NEW + name, "tmpfs", _NO_SUID | _NO_DEVICES, bounds)


def _lay_own_files(config: dict[str, Any]) -> None:
    place = Path(_NEW + config["workplace"])
    _writable(config["workplace"], config)
    os.umask(0)
    for name, text in config["files"].items():
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_text(text, encoding="utf-8", newline="")
    os.umask(0o022)


def _drop_rights(uid: int | None, refused: bytes) -> None:
    """Become nobody, for good: no capability, no way to one, and the calls of `refused` refused."""
    for capability in range(_NUM_CAPABILITIES):
        with suppress(OSError):  # beyond the last one that this kernel has
            _call("prctl", _DROP_BOUND, capability, 0, 0, 0)
    if uid is not None:
        os.setgroups([])
        os.setresgid(uid, uid, uid)
        os.setresuid(uid, uid, uid)
    _call("prctl", _AMBIENT, _CLEAR_AMBIENT, 0, 0, 0)
    header, none = struct.pack("=Ii", _CAPABILITIES_VERSION, 0), bytes(24)
    _syscall(_CAPSET[os.uname().machine], header, none)
    _call("prctl", _NO_NEW_RIGHTS, 1, 0, 0, 0)
    # The first process is of the program's own user: nobody may look into it.
    _call("prctl", _DUMPABLE, 0, 0, 0, 0)
    _call("prctl", _DIE_WITH_PARENT, signal.SIGKILL, 0, 0, 0)
    if refused:
        code = ctypes.create_string_buffer(refused, len(refused))
        rule = struct.pack("@HP", len(refused) // 8, ctypes.addressof(code))
        _call("prctl", _SECCOMP, _FILTER, ctypes.c_char_p(rule), 0, 0)


def _mount(source: str, place: str, kind: str, flags: int, options: str = "") -> None:
    words = [word.encode() or None for word in (source, place, kind, options)]
    _call("mount", words[0], words[1], words[2], ctypes.c_ulong(flags), words[3], about=place)


def _pivot(new: str, old: str) -> None:
    _syscall(_PIVOT_ROOT[os.uname().machine], new.encode(), old.encode())


def _syscall(number: int, *given: _Word) -> None:
    """Call the kernel where the C library has no function for it."""
    _call("syscall", ctypes.c_long(number), *given, about=f"call {number}")


def _call(name: str, *given: _Word, about: str = "") -> None:
    if _libc[name](*given) == -1:
        number = ctypes.get_errno()
        raise OSError(number, f"{name} {about}: {os.strerror(number)}")


if __name__ == "__main__":
    main()
