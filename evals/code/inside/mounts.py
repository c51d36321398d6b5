"""A root of its own: an empty file system with the interpreter's library in it, read-only, and one directory to write.

Nothing of the host is taken away; nothing is given in the first place. The old root is gone before a program runs.
"""

import os

from evals.code.inside import kernel

BOX = "/box"
"""The only directory that a program can write to; it starts there."""

_BASE = "/tmp"  # noqa: S108 - covered in this process's own mount namespace; nothing is written to it
_OLD = "/.old"
SITE = ("site-packages", "dist-packages")
"""Folders of installed packages, which stay out of sight."""

_FILES_AT_MOST = 4096


def build_root(binds: list[tuple[str, str]], disk_bytes: int) -> None:
    """Make a fresh root that shows each (source, target) directory read-only, and move into it."""
    kernel.mount(None, "/", None, kernel.MS_REC | kernel.MS_PRIVATE)
    guarded = kernel.MS_NOSUID | kernel.MS_NODEV
    kernel.mount("root", _BASE, "tmpfs", guarded, "mode=0755,size=1m")
    os.mkdir(_BASE + _OLD)
    os.chdir(_BASE)
    kernel.pivot_root(".", _OLD.lstrip("/"))
    os.chdir("/")
    for source, target in binds:
        os.makedirs(target, exist_ok=True)
        kernel.mount(_OLD + source, target, None, kernel.MS_BIND | kernel.MS_REC)
        kernel.seal(target)
        _hide_packages(target)
    os.mkdir(BOX)
    options = f"mode=0777,size={disk_bytes},nr_inodes={_FILES_AT_MOST}"
    kernel.mount("box", BOX, "tmpfs", guarded | kernel.MS_NOEXEC, options)
    kernel.detach(_OLD)
    os.rmdir(_OLD)
    kernel.mount(None, "/", None, kernel.MS_REMOUNT | kernel.MS_BIND | kernel.MS_RDONLY | guarded)
    os.chdir(BOX)


def _hide_packages(directory: str) -> None:
    """Cover what was installed beside the standard library, in it or one level below it."""
    nested = [os.path.join(directory, name) for name in os.listdir(directory) if name.startswith("python")]
    for library in [directory, *nested]:
        for name in SITE:
            path = os.path.join(library, name)
            if os.path.isdir(path):
                kernel.mount("hidden", path, "tmpfs", kernel.MS_RDONLY, "mode=0555,size=4k")
