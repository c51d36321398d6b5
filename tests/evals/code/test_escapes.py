"""Programs that reach for the machine: none gets there, none outlives its run, all are bounded in time."""

import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from evals.code.limits import Limits
from evals.code.sandbox import Sandbox, run

LIMITS = Limits(wall_seconds=2.0, cpu_seconds=3, memory_bytes=256 << 20, disk_bytes=32 << 20)
WRAPPED = """
def readable(number):
    import os
    try: os.pread(number, 1, 0)
    except OSError: return False
    return True
try:
{program}
except BaseException as error:
    print(type(error).__name__)
else:
    print("ESCAPED")
"""
_C = """
import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
def call(name, *arguments):
    if getattr(libc, name)(*arguments) == -1: raise OSError(ctypes.get_errno(), name)
"""
# Each prints ESCAPED where it worked. {bait} is a directory outside with `file` in it, {socket} a unix socket that
# listens there, {tcp} and {udp} ports, {pid} the keeper, {home} the user's home.
ESCAPES = {
    "reads a file outside": "open('{bait}/file').read()",
    "lists home": "import os\nassert set(os.listdir('{home}')) - {{'.pyenv', '.local', '.cache'}}",
    "reads keys": "open('{home}/.ssh/id_rsa').read()",
    "finds a Hub token": "import os\nopen(os.path.expanduser('~/.cache/huggingface/token')).read()",
    "reads the user list": "open('/etc/passwd').read()",
    "reads the host's name": "open('/etc/hostname').read()",
    "reads the environment": "import os\nassert os.environ['SANDBOX_SECRET']",
    "reads the environment through C": _C
    + "libc.getenv.restype = ctypes.c_char_p\nassert libc.getenv(b'SANDBOX_SECRET')",
    "reads its own environment in /proc": "assert b'SECRET' in open('/proc/self/environ', 'rb').read()",
    "reads the keeper's environment": "open('/proc/{pid}/environ', 'rb').read()",
    "reads the keeper's memory": "open('/proc/{pid}/mem', 'rb').read(1)",
    "reads memory by the kernel": _C + "buffer = ctypes.create_string_buffer(8)\n"
    "class Part(ctypes.Structure): _fields_ = [('base', ctypes.c_void_p), ('size', ctypes.c_size_t)]\n"
    "one = Part(ctypes.addressof(buffer), 8)\n"
    "call('process_vm_readv', {pid}, ctypes.byref(one), 1, ctypes.byref(one), 1, 0)",
    "reads inherited descriptors": "import os\n"
    "assert any(b'bait' in os.pread(n, 100, 0) for n in range(3, 64) if readable(n))",
    "climbs out with ..": "open('../../../../../..{bait}/file').read()",
    "climbs out with a link": "import os\nos.symlink('{bait}/file', 'link')\nopen('link').read()",
    "writes outside": "open('{bait}/file', 'w').write('changed')",
    "appends outside": "open('{bait}/new', 'a').write('new')",
    "deletes outside": "import os\nos.unlink('{bait}/file')",
    "changes rights outside": "import os\nos.chmod('{bait}/file', 0o777)",
    "renames outside": "import os\nos.rename('{bait}/file', '{bait}/gone')",
    "links outside": "import os\nos.link('{bait}/file', 'link')",
    "removes a tree": "import shutil\nshutil.rmtree('{bait}')",
    "writes to its root": "open('/new', 'w').write('new')",
    "writes to the interpreter": "import os\nopen(os.__file__, 'a').write('#')",
    "writes to /tmp": "open('{temp}/escaped', 'w').write('new')",
    "leaves by chroot": "import os\nos.mkdir('d')\nos.chroot('d')",
    "connects by TCP": "import socket\nsocket.create_connection(('127.0.0.1', {tcp}), 2)",
    "sends by UDP": "import socket\n"
    "socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'escaped', ('127.0.0.1', {udp}))",
    "asks a name server": "import socket\nsocket.getaddrinfo('example.org', 80)",
    "connects to a unix socket": "import socket\nsocket.socket(socket.AF_UNIX).connect('{socket}')",
    "connects to an abstract socket": "import socket\nsocket.socket(socket.AF_UNIX).connect('\\0{abstract}')",
    "listens": "import socket\nsocket.create_server(('0.0.0.0', 0))",
    "opens a raw socket": "import socket\nsocket.socket(socket.AF_INET, socket.SOCK_RAW, 1)",
    "talks to the kernel's network": "import socket\nsocket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)",
    "forks": "import os\nif os.fork() == 0: os._exit(0)",
    "bombs": "import os\nfor _ in range(10000): os.fork()",
    "survives in a session of its own": """import os, time
if os.fork() == 0:
    os.setsid()
    time.sleep(60)
    open('{bait}/file', 'w').write('changed')""",
    "survives as a daemon": "import os, time\n"
    "for _ in range(2):\n    if os.fork(): os._exit(0)\n    os.setsid()\ntime.sleep(60)",
    "forks through C": _C + "if libc.vfork() < 0: raise OSError(1, 'vfork')",
    "forks through the system call": _C
    + "number = 57 if os.uname().machine == 'x86_64' else 220\nif libc.syscall(number, 17) < 0: raise OSError(1, '')",
    "runs a shell": "import os\nassert os.system('true') == 0",
    "runs a program": "import subprocess, sys\nsubprocess.run([sys.executable, '-c', 'pass'], check=True)",
    "becomes a program": "import os, sys\nos.execv(sys.executable, [sys.executable, '-c', 'print(\"ESCAPED\")'])",
    "spawns": "import os, sys\nos.posix_spawn(sys.executable, ['python', '-c', 'pass'], {{}})",
    "runs a program from memory": "import os\nos.memfd_create('program')",
    "starts workers": "import multiprocessing\nmultiprocessing.Process(target=print).start()",
    "kills the keeper": "import os\nos.kill({pid}, 9)",
    "kills everybody": "import os\nos.kill(-1, 9)",
    "kills its group": "import os\nos.killpg(0, 9)",
    "signals by queue": _C + "call('sigqueue', {pid}, 9, 0)",
    "signals by descriptor": "import os, signal\nsignal.pidfd_send_signal(os.pidfd_open({pid}), 9)",
    "traces the keeper": _C + "call('ptrace', 16, {pid}, 0, 0)",
    "asks to be traced": _C + "call('ptrace', 0, 0, 0, 0)",
    "mounts": _C + "call('mount', b'none', b'/box', b'tmpfs', 0, None)",
    "mounts /proc": _C + "os.mkdir('proc')\ncall('mount', b'proc', b'/box/proc', b'proc', 0, None)",
    "unmounts": _C + "call('umount2', b'/box', 2)",
    "makes the interpreter writable": _C
    + "call('mount', None, os.path.dirname(os.__file__).encode(), None, 32 | 4096, None)",
    "nests a user namespace": _C + "call('unshare', 0x10000000)",
    "nests all namespaces": _C + "call('unshare', 0x7E020000)",
    "enters another namespace": _C + "call('setns', 0, 0)",
    "makes a device": "import os, stat\nos.mknod('device', 0o600 | stat.S_IFBLK, os.makedev(254, 0))",
    "opens memory": "open('/dev/mem', 'rb').read(1)",
    "opens a disk": "open('/dev/vda', 'rb').read(1)",
    "opens a terminal": "open('/dev/tty', 'w').write('x')",
    "becomes root": "import os\nos.setuid(0)",
    "takes capabilities": _C
    + "header = (ctypes.c_uint32 * 2)(0x20080522, 0)\ndata = (ctypes.c_uint32 * 6)(*[0xFFFFFFFF] * 6)\n"
    "call('capset', header, data)",
    "raises a limit": "import resource\nresource.setrlimit(resource.RLIMIT_AS, (-1, -1))",
    "lifts the filter": _C + "call('prctl', 22, 0, 0, 0, 0)",
    "renames the host": "import socket\nsocket.sethostname('escaped')",
    "io_uring": _C + "call('syscall', 425, 8, ctypes.create_string_buffer(256))",
    "bpf": _C
    + "call('syscall', 321 if os.uname().machine == 'x86_64' else 280, 0, ctypes.create_string_buffer(64), 64)",
    "user faults": _C + "call('syscall', 323 if os.uname().machine == 'x86_64' else 282, 1)",
    "keys": _C + "call('syscall', 250 if os.uname().machine == 'x86_64' else 219, 0, -3, 1)",
    "shared memory": _C + "call('shmget', 0, 1 << 20, 0o1600)",
    "message queues": _C + "call('msgget', 0, 0o1600)",
    "imports what is installed": "import torch",
}


@dataclass(frozen=True)
class Outside:
    """Things to reach."""

    names: dict[str, object]
    """What the programs are told of them."""
    bait: Path
    mode: int
    listening: tuple[socket.socket, ...]


@pytest.fixture(scope="module")
def outside(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Outside]:
    bait = tmp_path_factory.mktemp("bait")
    (bait / "file").write_text("bait")
    descriptor = os.open(bait / "file", os.O_RDWR)
    os.set_inheritable(descriptor, True)
    os.environ["SANDBOX_SECRET"] = str(bait)
    abstract = f"bait-{os.getpid()}"
    with (
        socket.create_server(("127.0.0.1", 0)) as tcp,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp,
        socket.socket(socket.AF_UNIX) as by_path,
        socket.socket(socket.AF_UNIX) as by_name,
    ):
        udp.bind(("127.0.0.1", 0))
        for made, address in ((by_path, f"{bait}/socket"), (by_name, "\0" + abstract)):
            made.bind(address)
            made.listen()
        listening = (tcp, udp, by_path, by_name)
        for made in listening:
            made.setblocking(False)
        names = {
            "bait": bait,
            "temp": tempfile.gettempdir(),
            "socket": bait / "socket",
            "abstract": abstract,
            "tcp": tcp.getsockname()[1],
            "udp": udp.getsockname()[1],
            "pid": os.getpid(),
            "home": Path.home(),
        }
        yield Outside(names, bait, (bait / "file").stat().st_mode, listening)
    del os.environ["SANDBOX_SECRET"]
    os.close(descriptor)


@pytest.mark.usefixtures("nobody_left")
@pytest.mark.parametrize("name", ESCAPES)
def test_no_program_reaches_outside(sandbox: Sandbox, name: str, outside: Outside) -> None:
    program = ESCAPES[name].format(**outside.names)
    wrapped = WRAPPED.format(program="\n".join(f"    {line}" for line in program.splitlines()))

    outcome = run(sandbox, wrapped, limits=LIMITS)

    assert b"ESCAPED" not in outcome.output
    assert not {b"SyntaxError", b"NameError", b"TypeError"} & set(outcome.output.split())
    assert sorted(path.name for path in outside.bait.iterdir()) == ["file", "socket"]
    assert (outside.bait / "file").read_text() == "bait"
    assert (outside.bait / "file").stat().st_mode == outside.mode
    assert not Path(tempfile.gettempdir(), "escaped").exists()
    for listening in outside.listening:
        with pytest.raises(BlockingIOError):
            listening.recv(1) if listening.type == socket.SOCK_DGRAM else listening.accept()


KEEPER = """
import os, sys
from evals.code.limits import Limits
from evals.code.selftest import choose_sandbox
box = choose_sandbox().start(Limits())
box.wait_until_ready()
print(os.getpid(), flush=True)
sys.stdin.read()
os._exit(0)  # without closing it
"""


@pytest.mark.usefixtures("sandbox")
def test_nobody_in_a_box_is_alive_when_its_keeper_dies(boxed: Callable[[int], set[int]]) -> None:
    with subprocess.Popen([sys.executable, "-c", KEEPER], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as keeper:
        assert keeper.stdout is not None
        keeper.stdout.readline()
        assert boxed(keeper.pid)
        keeper.kill()

    deadline = time.monotonic() + 10
    while boxed(keeper.pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not boxed(keeper.pid)
