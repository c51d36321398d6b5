"""Landlock: a second wall around files, behind the mounts.

Read beneath the root, write beneath the box's own directory, execute nothing, bind and connect no TCP port, reach no
abstract socket and no process outside. Kernels differ in how much of this they know; what they know is asked for.
"""

import ctypes
import errno
import os

from evals.code.inside import kernel

_CREATE, _ADD, _RESTRICT = 444, 445, 446
_ASK_VERSION = 1
_RULE_PATH_BENEATH = 1

# linux/landlock.h: rights to files, by bit.
_WRITE_FILE, _READ_FILE, _READ_DIR, _REMOVE_DIR, _REMOVE_FILE = 1 << 1, 1 << 2, 1 << 3, 1 << 4, 1 << 5
_MAKE_DIR, _MAKE_REG, _MAKE_SYM, _REFER, _TRUNCATE = 1 << 7, 1 << 8, 1 << 12, 1 << 13, 1 << 14
_READ = _READ_FILE | _READ_DIR
_WRITE = _WRITE_FILE | _REMOVE_DIR | _REMOVE_FILE | _MAKE_DIR | _MAKE_REG | _MAKE_SYM | _REFER | _TRUNCATE
# All rights that a version of the interface knows.
_ALL_RIGHTS = {1: (1 << 13) - 1, 2: (1 << 14) - 1, 3: (1 << 15) - 1, 4: (1 << 15) - 1, 5: (1 << 16) - 1}
_NEWEST = 6
_NETWORK_SINCE = 4
_SCOPES_SINCE = 6
_BOTH = 3  # bind and connect TCP; abstract sockets and signals


def version() -> int:
    """The version of Landlock that this kernel offers, or 0 where it has none or it is switched off."""
    try:
        return kernel.syscall("landlock_create_ruleset", _CREATE, 0, 0, _ASK_VERSION)
    except OSError as error:
        if error.errno in (errno.ENOSYS, errno.EOPNOTSUPP, errno.EPERM):
            return 0
        raise


def restrict(writable: str) -> int:
    """Raise the wall for this process and say which version of it stands; 0 where there is none."""
    offered = version()
    if not offered:
        return 0
    known = min(offered, _NEWEST)
    handled = _ALL_RIGHTS[min(known, max(_ALL_RIGHTS))]
    words = [handled]
    words += [_BOTH] if known >= _NETWORK_SINCE else []
    words += [_BOTH] if known >= _SCOPES_SINCE else []
    attributes = (ctypes.c_uint64 * len(words))(*words)
    size = ctypes.sizeof(attributes)
    rules = kernel.syscall("landlock_create_ruleset", _CREATE, ctypes.byref(attributes), size, 0)
    try:
        _allow(rules, "/", _READ)
        _allow(rules, writable, (_READ | _WRITE) & handled)
        kernel.syscall("landlock_restrict_self", _RESTRICT, rules, 0)
    finally:
        os.close(rules)
    return offered


def _allow(rules: int, path: str, rights: int) -> None:
    class Beneath(ctypes.Structure):
        _pack_ = 1
        _fields_ = [("rights", ctypes.c_uint64), ("directory", ctypes.c_int32)]

    directory = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        rule = Beneath(rights, directory)
        kernel.syscall("landlock_add_rule", _ADD, rules, _RULE_PATH_BENEATH, ctypes.byref(rule), 0)
    finally:
        os.close(directory)
