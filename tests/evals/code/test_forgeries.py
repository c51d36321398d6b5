"""Programs that cheat their test: none is graded as passed, none outlives its run, all are bounded in time."""

import pytest

from evals.code.grade import Problem, grade
from evals.code.limits import Limits
from evals.code.sandbox import Sandbox

LIMITS = Limits(wall_seconds=2.0, cpu_seconds=3, memory_bytes=256 << 20, disk_bytes=32 << 20)
TEST = """
def check(candidate):
    expected = 3
    assert candidate(1, 2) == expected
    assert all(map(lambda pair: candidate(*pair) == 4, [(2, 2), (1, 3)]))
    assert abs(candidate(1, 1) - 2) < 1e-6
    for got in map(candidate, [1, 2], [1, 2]):
        assert got in (2, 4)
    assert list(map(candidate, [0, 0], [1, 2])) == [1, 2]
check(add)
"""
PROBLEM = Problem(test=TEST)
FORGERIES = {
    "always-equal object": """
class Yes:
    def __eq__(self, other): return True
    def __ne__(self, other): return False
    def __bool__(self): return True
def add(a, b): return Yes()
""",
    "always-equal int": """
class Yes(int):
    def __eq__(self, other): return True
    __hash__ = int.__hash__
def add(a, b): return Yes(0)
""",
    "always-equal list": """
class Yes(list):
    def __eq__(self, other): return True
def add(a, b): return Yes()
""",
    "equal by metaclass": """
class Meta(type):
    def __eq__(self, other): return True
    __hash__ = type.__hash__
class Yes(metaclass=Meta): pass
def add(a, b): return Yes
""",
    "iterable that lies about itself": """
class Yes(tuple):
    def __iter__(self): return iter((3,))
    def __len__(self): return 1
    def __eq__(self, other): return True
def add(a, b): return Yes()
""",
    "class that claims to be int": """
class Yes:
    __class__ = int
    def __eq__(self, other): return True
def add(a, b): return Yes()
""",
    "exit 0 at once": "import os\nos._exit(0)",
    "exit 0 when called": "import os\ndef add(a, b): os._exit(0)",
    "sys.exit at once": "import sys\nsys.exit(0)",
    "sys.exit when called": "import sys\ndef add(a, b): sys.exit(0)",
    "SystemExit from a thread, then silence": """
import threading, os
threading.Timer(0.1, os._exit, (0,)).start()
def add(a, b):
    while True: pass
""",
    "says that it passed": "print('passed')\nprint('OK')\nprint('1.0')\ndef add(a, b): return 0",
    "writes done on every pipe": """
import os
for number in range(64):
    try: os.write(number, b"D" + bytes(8))
    except OSError: pass
def add(a, b): return 0
""",
    "writes done when called": """
import os
def add(a, b):
    for number in range(64):
        try: os.write(number, b"D" + bytes(8))
        except OSError: pass
    return 0
""",
    "writes loaded, value and done ahead of time": """
import os
for number in range(3, 64):
    try: os.write(number, (b"L" + bytes(8)) + (b"V" + (1).to_bytes(8, "big") + b"0") * 50 + b"D" + bytes(8))
    except OSError: pass
def add(a, b): return 0
""",
    "asserts that never fail": """
import builtins
class Never(Exception): pass
builtins.AssertionError = Never
def add(a, b): return 0
""",
    "an AssertionError that is caught": """
import sys
sys.excepthook = lambda *_: None
def add(a, b): raise AssertionError
""",
    "check replaced": "def check(candidate): pass\ndef add(a, b): return 0",
    "check replaced from a frame": """
import sys
def add(a, b):
    frame = sys._getframe()
    while frame:
        frame.f_globals["check"] = lambda candidate: None
        frame = frame.f_back
    return 0
""",
    "answers read from the caller's frame": """
import sys
def add(a, b):
    frame = sys._getframe(1)
    while frame:
        for value in list(frame.f_locals.values()):
            if isinstance(value, str) and "==" in value: raise SystemExit(0)
        frame = frame.f_back
    return 0
""",
    "expected values found in memory": """
import gc
def add(a, b):
    for thing in gc.get_objects():
        if isinstance(thing, dict) and "expected" in thing: return thing["expected"]
    return 0
""",
    "source of the test read from argv and files": """
import glob, sys
def add(a, b):
    files = glob.glob("/box/**", recursive=True)[1:]
    text = " ".join(sys.argv) + "".join(open(path, errors="ignore").read() for path in files)
    return 3 if "== 3" in text else 0
""",
    "protocol patched": """
import sys
def add(a, b):
    frame = sys._getframe()
    while frame:
        line = frame.f_locals.get("line")
        if line is not None:
            line.write(b"D")
            line.write(b"D")
        frame = frame.f_back
    return 0
""",
    "an exit handler": "import atexit, os\natexit.register(os._exit, 0)\ndef add(a, b): raise KeyboardInterrupt",
    "an iterator cut short": "def add(a, b): raise StopIteration",
    "generator closed": "def add(a, b): raise GeneratorExit",
    "an exception whose name lies": """
class Skip(Exception): pass
Skip.__name__ = "StopIteration"
def add(a, b): raise Skip
""",
    "an exception that cannot be told": """
class Bad(BaseException):
    def __str__(self): raise SystemExit(0)
def add(a, b): raise Bad
""",
    "abs and len replaced": """
import builtins
builtins.abs = lambda value: 0
builtins.len = lambda value: 3
abs = len = lambda value: 0
def add(a, b): return 0
""",
    "equality of ints patched in C": """
import ctypes
def add(a, b):
    ctypes.memset(id(3) + 24, 0, 4)
    return 3
""",
    "json patched": """
import json
json.dumps = lambda *a, **k: '["object",0]'
def add(a, b): return 0
""",
    "a container of itself": "def add(a, b):\n    held = []\n    held.append(held)\n    return held",
    "not a number": "def add(a, b): return float('nan')",
    "nothing defined": "pass",
    "not Python": "def add(a, b: return",
    "null byte": "def add(a, b): return 3\x00",
    "sleeps": "import time\ntime.sleep(1000)",
    "loops when called": "def add(a, b):\n    while True: pass",
    "alarms cancelled, signals ignored": """
import signal
signal.alarm(0)
signal.setitimer(signal.ITIMER_REAL, 0)
for number in range(1, 65):
    try: signal.signal(number, signal.SIG_IGN)
    except (OSError, ValueError): pass
while True:
    try:
        while True: pass
    except BaseException: pass
""",
    "stuck in C": "def add(a, b): return 10 ** 10 ** 10",
    "pathological regex": "import re\ndef add(a, b): return re.match('(a+)+$', 'a' * 60 + 'b')",
    "closes its pipes and loops": "import os\nos.closerange(0, 64)\nwhile True: pass",
    "never reads": "import time\ndef add(a, b): time.sleep(1000)",
    "crashes": "import ctypes\ndef add(a, b): ctypes.string_at(0)",
    "recurses in C": "import sys\nsys.setrecursionlimit(10**9)\ndef add(a, b): return add(a, b)",
    "stops itself": "import os, signal\ndef add(a, b): os.kill(os.getpid(), signal.SIGSTOP)",
    "aborts": "import os\ndef add(a, b): os.abort()",
    "a result without end": "def add(a, b): return 'x' * (1 << 28)",
    "a length without a message": """
import os
def add(a, b):
    for number in range(3, 64):
        try: os.write(number, b"V" + (1 << 60).to_bytes(8, "big"))
        except OSError: pass
    while True: pass
""",
    "a deeply nested message": """
import os
def add(a, b):
    text = b'["list",' * 100000 + b"1" + b"]" * 100000
    for number in range(3, 64):
        try: os.write(number, b"V" + len(text).to_bytes(8, "big") + text)
        except OSError: pass
""",
    "prints without end": "while True: print('x' * 65536)",
    "prints to stderr without end": "import sys\nwhile True: sys.stderr.write('x' * 65536)",
    "memory without end": "held = []\nwhile True: held.append(bytearray(1 << 24))",
    "memory by mapping": "import mmap\nheld = []\nwhile True: held.append(mmap.mmap(-1, 1 << 28))",
    "threads without end": """
import threading
def more():
    while True:
        try: threading.Thread(target=more).start()
        except RuntimeError: pass
more()
""",
    "disk without end": """
number = 0
while True:
    number += 1
    try:
        with open(f"file{number}", "wb") as file: file.write(bytes(1 << 24))
    except OSError: pass
""",
    "empty files without end": """
number = 0
while True:
    number += 1
    try: open(f"file{number}", "wb").close()
    except OSError: pass
""",
}


def test_an_honest_program_passes(sandbox: Sandbox) -> None:
    verdict = grade(sandbox, "def add(a, b):\n    return a + b\n", PROBLEM, limits=LIMITS)

    assert verdict.passed, verdict.reason


@pytest.mark.usefixtures("nobody_left")
@pytest.mark.parametrize("name", FORGERIES)
def test_no_forgery_is_graded_as_passed(sandbox: Sandbox, name: str) -> None:
    verdict = grade(sandbox, FORGERIES[name], PROBLEM, limits=LIMITS)

    assert not verdict.passed
    assert verdict.reason
