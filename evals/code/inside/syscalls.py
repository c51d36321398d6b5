"""The system calls that a program may make: what CPython needs to compute and to use files in its own directory.

Not on the list, on purpose: starting programs or processes, signals to others, sockets that reach anywhere, mounts and
namespaces, ptrace and its kin, keys, BPF, io_uring, shared memory that no limit counts, raising one's own limits.
Numbers are those of x86_64 and aarch64 (asm/unistd_64.h, asm-generic/unistd.h); None where there is no such call.
"""

# By name, for x86_64 and for aarch64.
ALLOWED: dict[str, tuple[int | None, int | None]] = {
    # files
    "read": (0, 63), "write": (1, 64), "open": (2, None), "close": (3, 57), "stat": (4, None), "fstat": (5, 80),
    "lstat": (6, None), "lseek": (8, 62), "pread64": (17, 67), "pwrite64": (18, 68), "readv": (19, 65),
    "writev": (20, 66), "access": (21, None), "pipe": (22, None), "dup": (32, 23), "dup2": (33, None),
    "sendfile": (40, 71), "fcntl": (72, 25), "flock": (73, 32), "fsync": (74, 82), "fdatasync": (75, 83),
    "truncate": (76, 45), "ftruncate": (77, 46), "getdents": (78, None), "getcwd": (79, 17), "chdir": (80, 49),
    "fchdir": (81, 50), "rename": (82, None), "mkdir": (83, None), "rmdir": (84, None), "creat": (85, None),
    "link": (86, None), "unlink": (87, None), "symlink": (88, None), "readlink": (89, None), "chmod": (90, None),
    "fchmod": (91, 52), "umask": (95, 166), "statfs": (137, 43), "fstatfs": (138, 44), "getdents64": (217, 61),
    "fadvise64": (221, 223), "openat": (257, 56), "mkdirat": (258, 34), "newfstatat": (262, 79),
    "unlinkat": (263, 35), "renameat": (264, 38), "linkat": (265, 37), "symlinkat": (266, 36),
    "readlinkat": (267, 78), "fchmodat": (268, 53), "faccessat": (269, 48), "utimensat": (280, 88),
    "fallocate": (285, 47), "dup3": (292, 24), "pipe2": (293, 59), "preadv": (295, 69), "pwritev": (296, 70),
    "renameat2": (316, 276), "statx": (332, 291), "close_range": (436, 436), "faccessat2": (439, 439),
    # memory
    "mmap": (9, 222), "mprotect": (10, 226), "munmap": (11, 215), "brk": (12, 214), "mremap": (25, 216),
    "msync": (26, 227), "madvise": (28, 233),
    # waiting; a pair of sockets is what asyncio wakes itself with
    "poll": (7, None), "select": (23, None), "pause": (34, None), "nanosleep": (35, 101), "sendto": (44, 206),
    "recvfrom": (45, 207), "shutdown": (48, 210), "getsockname": (51, 204), "getpeername": (52, 205),
    "epoll_create": (213, None), "epoll_wait": (232, None), "epoll_ctl": (233, 21), "pselect6": (270, 72),
    "ppoll": (271, 73), "epoll_pwait": (281, 22), "eventfd2": (290, 19), "epoll_create1": (291, 20),
    "clock_nanosleep": (230, 115), "restart_syscall": (219, 128),
    # signals to oneself, alarms
    "rt_sigaction": (13, 134), "rt_sigprocmask": (14, 135), "rt_sigreturn": (15, 139), "getitimer": (36, 102),
    "alarm": (37, None), "setitimer": (38, 103), "rt_sigpending": (127, 136), "rt_sigtimedwait": (128, 137),
    "rt_sigsuspend": (130, 133), "sigaltstack": (131, 132), "tgkill": (234, 131),
    # threads and the end
    "sched_yield": (24, 124), "exit": (60, 93), "wait4": (61, 260), "arch_prctl": (158, None), "gettid": (186, 178),
    "futex": (202, 98), "sched_getaffinity": (204, 123), "set_tid_address": (218, 96), "exit_group": (231, 94),
    "waitid": (247, 95), "set_robust_list": (273, 99), "getcpu": (309, 168), "rseq": (334, 293),
    # looking at oneself; limits can be lowered, and raised by nobody without the capability
    "getpid": (39, 172), "uname": (63, 160), "gettimeofday": (96, 169), "getrlimit": (97, 163),
    "getrusage": (98, 165), "sysinfo": (99, 179), "times": (100, 153), "getuid": (102, 174), "getgid": (104, 176),
    "geteuid": (107, 175), "getegid": (108, 177), "getppid": (110, 173), "getpgrp": (111, None),
    "getgroups": (115, 158), "getresuid": (118, 148), "getresgid": (120, 150), "getpgid": (121, 155),
    "getsid": (124, 156), "time": (201, None), "clock_gettime": (228, 113), "clock_getres": (229, 114),
    "prlimit64": (302, 261), "getrandom": (318, 278),
}  # fmt: skip

# Allowed where one argument is one of these: name -> (numbers, the argument's place, its values).
ALLOWED_BY_ARGUMENT: dict[str, tuple[tuple[int, int], int, tuple[int, ...]]] = {
    # TCGETS, TIOCGWINSZ, FIONREAD, FIONBIO, FIONCLEX, FIOCLEX: what open() and isatty() ask
    "ioctl": ((16, 29), 1, (0x5401, 0x5413, 0x541B, 0x5421, 0x5450, 0x5451)),
    "prctl": ((157, 167), 0, (15, 16)),  # a thread's name
    "socketpair": ((53, 199), 0, (1,)),  # AF_UNIX
}
CLONE = (56, 220)
# A thread shares its memory and its process, and brings no namespaces.
CLONE_MASK = 0x7E020000 | 0x10000 | 0x100
CLONE_THREAD = 0x10000 | 0x100
AUDIT_ARCH = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
ARCHITECTURES = ("x86_64", "aarch64")
