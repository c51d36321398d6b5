"""The filter on system calls, as a BPF program: a list of what is allowed, so that calls yet to be invented are not.

A refused call fails with an error and the program lives on. Calls newer than the list fail as if the kernel did not
have them, because the C library then takes the older way; a call for another architecture ends the process.
"""

import errno
import struct

from evals.code.inside import kernel
from evals.code.inside.syscalls import (
    ALLOWED,
    ALLOWED_BY_ARGUMENT,
    ARCHITECTURES,
    AUDIT_ARCH,
    CLONE,
    CLONE_MASK,
    CLONE_THREAD,
)

# linux/bpf_common.h and linux/seccomp.h
_LOAD, _AND, _RETURN = 0x20, 0x54, 0x06
_IF_EQUAL, _IF_AT_LEAST = 0x15, 0x35
_ALLOW, _KILL_PROCESS, _FAIL = 0x7FFF0000, 0x80000000, 0x00050000
_NUMBER, _ARCH, _FIRST_ARGUMENT = 0, 4, 16
_X32 = 0x40000000
_FIRST_SHARED_NUMBER = 424


def install() -> None:
    """Filter this process's system calls from now on."""
    kernel.install_filter(build_filter(kernel.machine()))


def build_filter(machine: str) -> bytes:
    """The BPF program for an architecture."""
    column = ARCHITECTURES.index(machine)
    refuse = _step(_RETURN, _FAIL | errno.EPERM)
    program = [
        _step(_LOAD, _ARCH),
        _step(_IF_EQUAL, AUDIT_ARCH[machine], 1, 0),
        _step(_RETURN, _KILL_PROCESS),
        _step(_LOAD, _NUMBER),
        _step(_IF_AT_LEAST, _X32, 0, 1),
        _step(_RETURN, _KILL_PROCESS),
    ]
    for numbers in ALLOWED.values():
        number = numbers[column]
        if number is not None:
            program += [_step(_IF_EQUAL, number, 0, 1), _step(_RETURN, _ALLOW)]
    for choices, place, values in ALLOWED_BY_ARGUMENT.values():
        block = [_step(_LOAD, _FIRST_ARGUMENT + 8 * place)]
        for value in values:
            block += [_step(_IF_EQUAL, value, 0, 1), _step(_RETURN, _ALLOW)]
        program += _only(choices[column], [*block, refuse])
    thread = [_step(_LOAD, _FIRST_ARGUMENT), _step(_AND, CLONE_MASK), _step(_IF_EQUAL, CLONE_THREAD, 0, 1)]
    program += _only(CLONE[column], [*thread, _step(_RETURN, _ALLOW), refuse])
    program += [_step(_IF_AT_LEAST, _FIRST_SHARED_NUMBER, 0, 1), _step(_RETURN, _FAIL | errno.ENOSYS), refuse]
    return b"".join(program)


def _only(number: int, block: list[bytes]) -> list[bytes]:
    return [_step(_IF_EQUAL, number, 0, len(block)), *block]


def _step(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("=HBBI", code, if_true, if_false, value)
