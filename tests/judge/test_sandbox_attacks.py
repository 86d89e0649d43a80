"""What a program may try, each in a sandbox of each kind; it gets nothing and leaves nothing.

The fixture `attack` looks for processes and open files that are left.
"""

import http.server
import os
import secrets
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from tests.judge.conftest import Attack

MIB = 1 << 20


def refusals(*attempts: str) -> str:
    """Python that makes each attempt and prints how it is refused, or `done`."""
    return "import os, socket, ctypes, resource\n" + "".join(
        f"try:\n    {attempt}\n    print('done')\n"
        "except BaseException as error:\n    print(type(error).__name__)\n"
        for attempt in attempts
    )


# Processes


def test_a_fork_bomb_meets_the_bound_on_processes(attack: Attack) -> None:
    source = (
        "import os, time\n"
        "made = 0\n"
        "try:\n"
        "    while made < 500:\n"
        "        if os.fork() == 0:\n"
        "            time.sleep(30)\n"
        "        made += 1\n"
        "except BlockingIOError:\n"
        "    print('refused after', made)\n"
    )
    outcome = attack(source, processes=20)
    assert outcome.text.startswith("refused after ")
    assert int(outcome.text.split()[-1]) < 20


def test_a_fork_bomb_that_forks_for_ever_ends_with_its_time(attack: Attack) -> None:
    source = "import os\nwhile True:\n    try: os.fork()\n    except OSError: pass\n"
    outcome = attack(source, wall_s=1, processes=30)
    assert (outcome.ended_by, outcome.status, outcome.is_late) == ("time", None, True)
    assert outcome.wall_s < 4


def test_sleep_is_ended_on_time(attack: Attack) -> None:
    outcome = attack("import time; print('a', flush=True); time.sleep(60)", wall_s=0.5)
    assert (outcome.ended_by, outcome.text) == ("time", "a\n")
    assert 0.5 <= outcome.wall_s < 2


def test_a_busy_loop_is_ended_by_processor_time(attack: Attack) -> None:
    outcome = attack("while True: pass", cpu_s=1, wall_s=10)
    assert outcome.is_late or outcome.status == 137
    assert outcome.wall_s < 5


def test_whoever_ignores_signals_is_ended_all_the_same(attack: Attack) -> None:
    source = (
        "import signal, time\n"
        "for number in set(signal.Signals) - {signal.SIGKILL, signal.SIGSTOP}:\n"
        "    signal.signal(number, signal.SIG_IGN)\n"
        "time.sleep(60)\n"
    )
    assert attack(source, wall_s=0.5).ended_by == "time"


def test_it_cannot_kill_its_parent_nor_everybody(attack: Attack) -> None:
    outcome = attack(refusals("os.kill(os.getppid(), 9)", "os.kill(1, 9)") + "print('alive')\n")
    # Whoever runs it may be of its own user; that one hears no signal from inside.
    assert set(outcome.text.split()[:2]) <= {"PermissionError", "done"}
    assert outcome.text.split()[2] == "alive"
    outcome = attack(refusals(f"os.kill({os.getpid()}, 9)"))
    assert outcome.text == "ProcessLookupError\n"
    outcome = attack("import os; os.kill(-1, 9)")
    assert outcome.status in (0, 1, 137)
    assert attack("print('the sandbox lives')").is_success


def test_children_that_are_daemons_do_not_outlive_it(attack: Attack) -> None:
    mark = secrets.token_hex(8)
    source = (
        "import os, sys, time\n"
        "for _ in range(2):\n"
        "    if os.fork(): time.sleep(0.3); os._exit(0)\n"
        "    os.setsid()\n"
        "for end in (0, 1, 2): os.close(end)\n"
        f"os.execv(sys.executable, ['{mark}', '-c', 'import time; time.sleep(30)'])\n"
    )
    started = time.monotonic()
    attack(source)
    assert time.monotonic() - started < 4
    commands = [process.info["cmdline"] for process in psutil.process_iter(["cmdline"])]
    assert [command for command in commands if command and mark in command[0]] == []


def test_whoever_closes_its_output_is_waited_for_and_ended(attack: Attack) -> None:
    source = "import os, time\nos.closerange(0, 64)\ntime.sleep(60)\n"
    outcome = attack(source, wall_s=0.7)
    assert (outcome.ended_by, outcome.stdout) == ("time", b"")


def test_limits_cannot_be_raised_again(attack: Attack) -> None:
    names = ("RLIMIT_AS", "RLIMIT_NPROC", "RLIMIT_CPU", "RLIMIT_FSIZE", "RLIMIT_NOFILE")
    unbounded = "(resource.RLIM_INFINITY, resource.RLIM_INFINITY)"
    attempts = [f"resource.setrlimit(resource.{name}, {unbounded})" for name in names]
    attempts.append("resource.prlimit(1, resource.RLIMIT_AS, (1, 1))")
    assert set(attack(refusals(*attempts)).text.split()) <= {"ValueError", "PermissionError"}


# Rights


def test_it_has_no_rights_and_no_way_to_any(attack: Attack) -> None:
    outcome = attack("print(open('/proc/self/status').read())")
    facts = dict(line.split(":\t", 1) for line in outcome.text.splitlines() if ":\t" in line)
    assert "0" not in facts["Uid"].split()
    assert {facts[f"Cap{kind}"] for kind in ("Inh", "Prm", "Eff", "Bnd", "Amb")} == {"0" * 16}
    assert facts["NoNewPrivs"] == "1"


def test_it_cannot_become_anybody_else(attack: Attack) -> None:
    attempts = ("os.setuid(0)", "os.setgid(0)", "os.setgroups([0])", "os.seteuid(1)")
    # In a namespace of users, ids that are not in it are no ids at all.
    assert set(attack(refusals(*attempts)).text.split()) <= {"PermissionError", "OSError"}


def test_it_cannot_mount_or_make_namespaces(attack: Attack) -> None:
    source = (
        "import ctypes, os\n"
        "libc = ctypes.CDLL(None, use_errno=True)\n"
        "print(libc.mount(b'tmpfs', b'/tmp', b'tmpfs', 0, None))\n"
        "print(libc.umount2(b'/proc', 2))\n"
        "print(libc.unshare(0x10000000))\n"
        "print(libc.unshare(0x10020000))\n"
        "print(libc.chroot(b'/tmp'))\n"
    )
    assert attack(source).text.split() == ["-1"] * 5


def test_it_cannot_look_into_other_processes(attack: Attack) -> None:
    source = (
        "import ctypes, os, time\n"
        "libc = ctypes.CDLL(None, use_errno=True)\n"
        "print(libc.ptrace(16, 1, 0, 0))\n"
        "child = os.fork()\n"
        "if child == 0: time.sleep(3); os._exit(0)\n"
        "print(libc.ptrace(16, child, 0, 0))\n"
        "print(sorted(int(name) for name in os.listdir('/proc') if name.isdigit())[-1] < 100)\n"
        "os.kill(child, 9)\n"
    )
    assert attack(source).text.split() == ["-1", "-1", "True"]


@pytest.mark.parametrize("process", ["1", "self"])
def test_the_first_process_of_a_sandbox_knows_nothing(
    attack: Attack, process: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    source = (
        "import os\n"
        f"for name in ('environ', 'cmdline', 'mountinfo'):\n"
        f"    try: print(open('/proc/{process}/' + name).read())\n"
        "    except OSError: pass\n"
        f"try: print(sorted(os.listdir('/proc/{process}/root')) == sorted(os.listdir('/')))\n"
        "except OSError: print(True)\n"
    )
    outcome = attack(source)
    assert "hf_secret" not in outcome.text
    assert outcome.text.endswith("True\n")


def test_nothing_of_the_machine_stands_in_the_list_of_processes(attack: Attack) -> None:
    source = "print(open('/proc/1/cmdline').read().count('--ro-bind'))"
    assert attack(source).text == "0\n"
    source = f"import pathlib; print({os.environ['PATH']!r} in open('/proc/self/environ').read())"
    assert attack(source).text == "False\n"


def test_it_has_no_terminal_to_type_into(attack: Attack) -> None:
    outcome = attack(refusals("open('/dev/tty')", "import fcntl; fcntl.ioctl(0, 0x5412, b'x')"))
    assert "done" not in outcome.text
    outcome = attack("import os; print(os.getsid(0) in (0, 1, 2, os.getpid()))")
    assert outcome.text == "True\n"


# Files


def test_it_cannot_read_the_users_files(attack: Attack, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("told", encoding="ascii")
    home = Path(os.path.expanduser("~"))
    places = [str(home), "/root", "/home", str(Path.cwd()), str(tmp_path), "/var", "/etc/shadow"]
    source = (
        f"import os\nfor place in {places!r}:\n"
        "    try: print(os.listdir(place) if os.path.isdir(place) else open(place).read())\n"
        "    except OSError: print('[]')\n"
        f"print(os.path.exists({str(secret)!r}), os.listdir(os.path.expanduser('~')))\n"
    )
    *seen, last = attack(source).text.splitlines()
    assert seen == ["[]"] * len(places)
    assert last == "False ['main.py']"


def test_it_inherits_no_credentials(attack: Attack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    monkeypatch.setenv("TONGWEN_HOME", "/somewhere")
    monkeypatch.setenv("PYTHONSTARTUP", "/somewhere/else.py")
    outcome = attack("import os\nfor name in sorted(os.environ): print(name)\n")
    allowed = {"HOME", "LANG", "PATH", "TMPDIR", "PWD", "LD_LIBRARY_PATH", "LC_CTYPE"}
    names = set(outcome.text.split())
    assert {name for name in names if not name.startswith("PYTHON")} <= allowed
    assert "PYTHONSTARTUP" not in names


def test_it_cannot_write_outside_its_folder(attack: Attack) -> None:
    places = (
        "/x",
        "/usr/x",
        "/etc/x",
        "/dev/x",
        "/opt/x",
        "/proc/x",
        "/usr/bin/python3",
        "/bin/sh",
    )
    outcome = attack(refusals(*(f"open({place!r}, 'w')" for place in places)))
    assert "done" not in outcome.text
    assert len(outcome.text.split()) == len(places)


def test_links_out_of_its_folder_lead_nowhere(attack: Attack, tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.write_text("untouched", encoding="ascii")
    source = (
        "import os\n"
        f"os.symlink({str(target)!r}, 'link')\n"
        "os.symlink('/proc/1/root', 'root')\n"
        "for name in ('link', 'root/etc/shadow', 'root/root', '../../../../root'):\n"
        "    try: print(open(name).read())\n"
        "    except OSError: print('refused')\n"
        "try: open('link', 'w').write('changed')\n"
        "except OSError: print('refused')\n"
    )
    assert attack(source).text.split() == ["refused"] * 5
    assert target.read_text(encoding="ascii") == "untouched"


def test_a_full_disk_is_its_own(attack: Attack) -> None:
    before = psutil.disk_usage("/tmp").used
    source = (
        "import os\n"
        "written = 0\n"
        "for place in ('', '/dev/shm/'):\n"
        "    try:\n"
        "        for name in range(100):\n"
        "            with open(f'{place}{name}', 'wb') as file:\n"
        "                file.write(bytes(1 << 20)); file.flush(); written += 1\n"
        "    except OSError as error: print(error.errno)\n"
        "print(written)\n"
    )
    outcome = attack(source, disk_bytes=8 * MIB)
    *errors, written = outcome.text.split()
    assert errors == ["28", "28"]
    assert int(written) <= 16
    assert psutil.disk_usage("/tmp").used - before < 64 * MIB


def test_one_file_cannot_be_larger_than_the_disk(attack: Attack) -> None:
    source = "f = open('a', 'wb')\nf.truncate(1 << 40)\n"
    outcome = attack(source, disk_bytes=4 * MIB)
    assert not outcome.is_success


def test_many_tiny_files_are_too_many(attack: Attack) -> None:
    source = "import itertools\nfor name in itertools.count():\n    open(str(name), 'w').close()\n"
    outcome = attack(source, num_files=2_000, open_files=64)
    assert outcome.ended_by == "files" or b"No space left" in outcome.stderr
    assert outcome.wall_s < 4


def test_a_fifo_or_a_socket_that_is_left_stops_nobody(attack: Attack) -> None:
    source = (
        "import os, socket\n"
        "os.mkfifo('fifo')\n"
        "socket.socket(socket.AF_UNIX).bind('socket')\n"
        "os.mkdir('closed', 0)\n"
        "print('left')\n"
    )
    assert attack(source).text == "left\n"
    assert attack("import os; print(os.listdir('.'))").text == "['main.py']\n"


# Network


@pytest.fixture
def server() -> Iterator[int]:
    """A server on the loopback of this machine; its port."""
    made = http.server.ThreadingHTTPServer(("127.0.0.1", 0), http.server.SimpleHTTPRequestHandler)
    thread = threading.Thread(target=made.serve_forever)
    thread.start()
    yield made.server_port
    made.shutdown()
    made.server_close()
    thread.join()


def test_it_reaches_no_server_on_this_machine_or_elsewhere(attack: Attack, server: int) -> None:
    attempts = [
        f"socket.create_connection(('127.0.0.1', {server}), 2)",
        f"socket.create_connection(('::1', {server}), 2)",
        "socket.create_connection(('1.1.1.1', 53), 2)",
        "socket.getaddrinfo('example.com', 80)",
        "socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x', ('8.8.8.8', 53))",
    ]
    assert set(attack(refusals(*attempts)).text.split()) <= {
        "OSError",
        "ConnectionRefusedError",
        "gaierror",
    }
    interfaces = attack("import socket; print([name for _, name in socket.if_nameindex()])")
    assert interfaces.text == "['lo']\n"


def test_it_reaches_no_socket_that_lies_in_no_file(attack: Attack) -> None:
    name = "\0tongwen-" + secrets.token_hex(8)
    with socket.socket(socket.AF_UNIX) as host:
        host.bind(name)
        host.listen()
        outcome = attack(refusals(f"socket.socket(socket.AF_UNIX).connect({name!r})"))
    assert outcome.text == "ConnectionRefusedError\n"


def test_it_gets_no_socket_of_a_kind_that_leads_around_the_network(attack: Attack) -> None:
    # A virtual machine's line to its host, and raw packets.
    attempts = ("socket.socket(40, socket.SOCK_STREAM)", "socket.socket(17, socket.SOCK_RAW)")
    assert set(attack(refusals(*attempts)).text.split()) == {"PermissionError"}


# Memory and output


def test_a_gigabyte_of_output_costs_no_more_than_the_bound(attack: Attack) -> None:
    source = "import os\nwhile True: os.write(1, b'x' * 65536)\n"
    outcome = attack(source, output_bytes=100_000)
    assert (outcome.ended_by, outcome.is_truncated, outcome.status) == ("output", True, None)
    assert len(outcome.stdout) == 100_000
    assert outcome.wall_s < 3


def test_a_gigabyte_of_complaints_does_not_either(attack: Attack) -> None:
    outcome = attack("import os\nwhile True: os.write(2, b'x' * 65536)\n", output_bytes=50_000)
    assert (outcome.ended_by, len(outcome.stderr)) == ("output", 50_000)


def test_output_that_is_just_long_enough_is_kept_whole(attack: Attack) -> None:
    outcome = attack("import os; os.write(1, b'x' * 50_000)", output_bytes=50_000)
    assert (len(outcome.stdout), outcome.is_truncated, outcome.ended_by) == (50_000, False, "exit")
    outcome = attack("import os; os.write(1, b'x' * 50_001)", output_bytes=50_000)
    assert (len(outcome.stdout), outcome.is_truncated, outcome.ended_by) == (50_000, True, "output")


def test_memory_of_one_process_is_bounded(attack: Attack) -> None:
    outcome = attack("a = bytearray(1 << 30)", address_space_bytes=300 * MIB)
    assert outcome.complaint == "MemoryError"


def test_memory_of_all_processes_together_is_bounded(attack: Attack) -> None:
    source = (
        "import os, time\n"
        "for _ in range(8): os.fork()\n"
        * 1
        + "a = bytearray(b'x') * (40 << 20)\n"
        + "time.sleep(20)\n"
    )
    outcome = attack(source, memory_bytes=200 * MIB)
    assert outcome.ended_by == "memory"
    assert outcome.wall_s < 4
