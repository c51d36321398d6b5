"""Programs that try, harmlessly, what no program may do: proof of what a sandbox holds on this machine.

Each attempt is to be refused by the kernel with an error. One that fails for another reason proves nothing, so only
the expected error counts as refused.
"""

from collections.abc import Mapping

_MEANS = """
import ctypes, os, socket, stat, sys
libc = ctypes.CDLL(None, use_errno=True)

def call(name, *arguments):
    if getattr(libc, name)(*arguments) == -1:
        raise OSError(ctypes.get_errno(), name)

def connect(kind, address):
    with socket.socket(kind, socket.SOCK_STREAM) as made:
        made.connect(address)

def send(address):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as made:
        made.sendto(b"x", address)

def nothing(found):
    if not found:
        raise OSError(0, "nothing")

def write(path):
    with open(path, "a") as file:
        file.write("x")

def descriptors():
    for number in range(64):
        try:
            mode = os.fstat(number).st_mode
        except OSError:
            continue
        if not stat.S_ISFIFO(mode):
            yield number
"""
# What is tried, as an expression that raises OSError where it is refused. BAIT holds things outside.
ATTEMPTS = {
    "read home": 'nothing([path for path in BAIT["home"] if os.path.lexists(path)])',
    "read a file outside": 'open(BAIT["file"]).close()',
    "write outside": 'write(BAIT["file"])',
    "write to its own root": 'write("/file")',
    "write to the interpreter": 'write(os.path.dirname(os.__file__) + "/file")',
    "read installed packages": 'nothing([path for path in BAIT["packages"] if os.path.lexists(path)])',
    "see processes": 'os.listdir("/proc/1")',
    "see devices": 'os.listdir("/dev")',
    "see the environment": "nothing(os.environ)",
    "use inherited descriptors": "nothing(list(descriptors()))",
    "connect by TCP": 'connect(socket.AF_INET, ("127.0.0.1", BAIT["tcp"]))',
    "send by UDP": 'send(("127.0.0.1", BAIT["udp"]))',
    "connect to a unix socket": 'connect(socket.AF_UNIX, BAIT["unix"])',
    "connect to an abstract socket": 'connect(socket.AF_UNIX, chr(0) + BAIT["abstract"])',
    "signal its keeper": 'os.kill(BAIT["pid"], 0)',
    "trace a process": 'call("ptrace", 0, 0, 0, 0)',
    "start a process": "os.fork() or os._exit(0)",
    "start a program": 'os.execv(sys.executable, [sys.executable, "-c", "print(\'started\')"])',
    "make a namespace": 'call("unshare", 0x10000000)',
    "mount": 'call("mount", b"none", b"/box", b"tmpfs", 0, None)',
}
_TRY = """
try:
    {attempt}
except OSError:
    print("{name}=refused")
except BaseException as error:
    print(f"{name}={{type(error).__name__}}: {{error}}")
else:
    print("{name}=not refused")
sys.stdout.flush()
"""


def build_attempts(bait: Mapping[str, object]) -> str:
    """A program that tries everything and prints `name=refused` for each attempt that failed as it should."""
    tries = [_TRY.format(name=name, attempt=attempt) for name, attempt in ATTEMPTS.items()]
    return "\n".join([f"BAIT = {dict(bait)!r}", _MEANS, *tries])


WORKS = """
import bisect, collections, decimal, hashlib, heapq, json, math, random, re, string, threading
thread = threading.Thread(target=lambda: open("file", "w").write(hashlib.md5(b"").hexdigest()))
thread.start()
thread.join()
print(len(open("file").read()))
"""
MEMORY = "held = [bytearray(1 << 20) for _ in range(1 << 20)]"
DISK = """
written = 0
try:
    for number in range(1000):
        with open(str(number), "wb", buffering=0) as file:
            while count := file.write(bytes(1 << 20)):
                written += count
                if file.tell() >= 8 << 20:
                    break
except OSError:
    print(written)
"""
THREADS = """
import threading
threading.stack_size(1 << 16)
hold = threading.Event()
count = 1
try:
    for _ in range(1000):
        threading.Thread(target=hold.wait, daemon=True).start()
        count += 1
except RuntimeError:
    print(count)
"""
FOREVER = "while True: pass"
FLOOD = "while True: print('x' * 4096)"
