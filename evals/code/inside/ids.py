"""Who a program is: a user without a name or rights inside, and never the host's root outside.

Root may map a second id and does, because the kernel spares its root from the limit on processes. Anyone else can map
only themselves.
"""

import os

from evals.code.inside import kernel

USER = 1000
"""User and group id of programs inside."""
_NOBODY = 65534

_NAMESPACES = (
    kernel.CLONE_NEWUSER
    | kernel.CLONE_NEWNS
    | kernel.CLONE_NEWPID
    | kernel.CLONE_NEWNET
    | kernel.CLONE_NEWIPC
    | kernel.CLONE_NEWUTS
    | kernel.CLONE_NEWCGROUP
)


def enter_namespaces() -> None:
    """Leave all of the host's namespaces. The next child is the first process of the new ones."""
    if os.geteuid() == 0 and _enter_as_root():
        return
    user, group = os.geteuid(), os.getegid()
    kernel.unshare(_NAMESPACES)
    _write("/proc/self/setgroups", "deny")
    _write("/proc/self/uid_map", f"{USER} {user} 1\n")
    _write("/proc/self/gid_map", f"{USER} {group} 1\n")


def _enter_as_root() -> bool:
    """Map root to itself, for the mounts, and `USER` to nobody. False where this root has no such id to give."""
    if not _has_id(_NOBODY):
        return False
    os.setgroups([])
    mine, helper_end = os.pipe()
    # Only a process that stays outside may write such a map.
    target = os.getpid()
    helper = os.fork()
    if helper == 0:
        os.close(helper_end)
        os._exit(_map_when_told(mine, target))
    os.close(mine)
    kernel.unshare(_NAMESPACES)
    os.write(helper_end, b"1")
    os.close(helper_end)
    status = os.waitpid(helper, 0)[1]
    if status:
        raise OSError(0, "uid_map: could not be written")
    return True


def _map_when_told(told: int, target: int) -> int:
    try:
        if os.read(told, 1):
            _write(f"/proc/{target}/uid_map", f"0 0 1\n{USER} {_NOBODY} 1\n")
            _write(f"/proc/{target}/gid_map", f"0 0 1\n{USER} {_NOBODY} 1\n")
            return 0
    except OSError:
        pass
    return 1


def _has_id(wanted: int) -> bool:
    with open("/proc/self/uid_map", encoding="ascii") as file:
        ranges = [tuple(map(int, line.split())) for line in file]
    return any(first <= wanted < first + count for first, _, count in ranges)


def become_user() -> None:
    """Give up root and every capability, for good."""
    kernel.bind_capabilities()
    if os.geteuid() != USER:
        os.setresgid(USER, USER, USER)
        os.setresuid(USER, USER, USER)
    kernel.drop_capabilities()


def _write(path: str, text: str) -> None:
    file = os.open(path, os.O_WRONLY)
    try:
        os.write(file, text.encode())
    except OSError as error:
        raise OSError(error.errno, f"{path}: {error.strerror}") from error
    finally:
        os.close(file)
