"""The few kernel calls that Python has no function for, through ctypes.

Everything in this package runs in a fresh interpreter that has the standard library alone, and is imported for every
program that is run: keep imports few. A failing call raises OSError with the call's name.
"""

import ctypes
import os

_LIBC = ctypes.CDLL(None, use_errno=True)

# linux/sched.h
CLONE_NEWNS = 0x00020000
CLONE_NEWCGROUP = 0x02000000
CLONE_NEWUTS = 0x04000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000
# linux/mount.h
MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_REMOUNT = 1, 2, 4, 8, 32
MS_BIND, MS_REC, MS_PRIVATE = 4096, 16384, 1 << 18
_MNT_DETACH = 2
_AT_RECURSIVE = 0x8000
_AT_FDCWD = -100
# linux/prctl.h
_PR_SET_PDEATHSIG, _PR_CAPBSET_DROP, _PR_SET_NO_NEW_PRIVS, _PR_SET_SECCOMP = 1, 24, 38, 22
_SECCOMP_MODE_FILTER = 2
_CAPABILITY_VERSION_3 = 0x20080522
_LAST_CAPABILITY = 63

# Calls without a libc function; those above 424 have one number on every architecture.
_NUMBERS = {"x86_64": {"pivot_root": 155, "capset": 126}, "aarch64": {"pivot_root": 41, "capset": 91}}
_MOUNT_SETATTR = 442


def machine() -> str:
    """The architecture, by the kernel's name. Raises OSError for one whose calls are not known here."""
    name = os.uname().machine
    if name not in _NUMBERS or platform_bits() != 64:  # noqa: PLR2004
        raise OSError(0, f"the processor {name} is not among {', '.join(_NUMBERS)}")
    return name


def platform_bits() -> int:
    """Width of a pointer: a 32-bit interpreter makes other calls than its kernel's name says."""
    return ctypes.sizeof(ctypes.c_void_p) * 8


def syscall(name: str, number: int, *arguments: object) -> int:
    """Make a call by number; integers are passed as C longs."""
    passed = [ctypes.c_long(value) if isinstance(value, int) else value for value in arguments]
    return _checked(name, _LIBC.syscall(ctypes.c_long(number), *passed))


def unshare(flags: int) -> None:
    """Leave the namespaces named by the flags for new ones."""
    _checked("unshare", _LIBC.unshare(ctypes.c_int(flags)))


def mount(source: str | None, target: str, kind: str | None, flags: int, options: str | None = None) -> None:
    """Hang a file system, or a part of one, into the tree (mount(2))."""
    texts = [None if text is None else os.fsencode(text) for text in (source, target, kind, options)]
    done = _LIBC.mount(texts[0], texts[1], texts[2], ctypes.c_ulong(flags), texts[3])
    _checked(f"mount {target}", done)


def seal(path: str) -> None:
    """Make a mount and all below it read-only, without devices or set-uid programs. Needs Linux 5.12."""
    attributes = (ctypes.c_uint64 * 4)(MS_RDONLY | MS_NOSUID | MS_NODEV, 0, 0, 0)
    size = ctypes.sizeof(attributes)
    where = ctypes.c_char_p(os.fsencode(path))
    syscall(f"mount_setattr {path}", _MOUNT_SETATTR, _AT_FDCWD, where, _AT_RECURSIVE, ctypes.byref(attributes), size)


def pivot_root(new: str, old: str) -> None:
    """Make `new` the root and hang the one before at `old`."""
    number = _NUMBERS[machine()]["pivot_root"]
    syscall("pivot_root", number, ctypes.c_char_p(os.fsencode(new)), ctypes.c_char_p(os.fsencode(old)))


def detach(path: str) -> None:
    """Unmount a tree at once."""
    _checked(f"umount {path}", _LIBC.umount2(os.fsencode(path), ctypes.c_int(_MNT_DETACH)))


def set_host_name(name: bytes) -> None:
    """Name this machine, within its namespace."""
    _checked("sethostname", _LIBC.sethostname(name, ctypes.c_size_t(len(name))))


def die_with_parent(signal: int) -> None:
    """Get the signal when the thread that started this process ends. A change of user id undoes it."""
    _prctl("PR_SET_PDEATHSIG", _PR_SET_PDEATHSIG, signal)


def bind_capabilities() -> None:
    """Give up every capability for good, also for programs started later."""
    for capability in range(_LAST_CAPABILITY + 1):
        try:
            _prctl("PR_CAPBSET_DROP", _PR_CAPBSET_DROP, capability)
        except OSError:
            return  # past the last one that this kernel has


def drop_capabilities() -> None:
    """Empty this process's capability sets."""
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)
    data = (ctypes.c_uint32 * 6)()
    syscall("capset", _NUMBERS[machine()]["capset"], ctypes.byref(header), ctypes.byref(data))


def forbid_new_privileges() -> None:
    """No program started from here gains rights; Landlock and seccomp ask for it."""
    _prctl("PR_SET_NO_NEW_PRIVS", _PR_SET_NO_NEW_PRIVS, 1)


def install_filter(program: bytes) -> None:
    """Filter all further system calls of this process by a BPF program (linux/filter.h)."""

    class Program(ctypes.Structure):
        _fields_ = [("length", ctypes.c_ushort), ("code", ctypes.c_char_p)]

    described = Program(len(program) // 8, program)
    done = _LIBC.prctl(_PR_SET_SECCOMP, ctypes.c_ulong(_SECCOMP_MODE_FILTER), ctypes.byref(described), 0, 0)
    _checked("PR_SET_SECCOMP", done)


def _prctl(name: str, option: int, value: int) -> None:
    zero = ctypes.c_ulong(0)
    _checked(name, _LIBC.prctl(ctypes.c_int(option), ctypes.c_ulong(value), zero, zero, zero))


def _checked(name: str, result: int) -> int:
    if result == -1:
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}")
    return result
