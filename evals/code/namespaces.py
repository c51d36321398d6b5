"""Boxes made with the kernel's own means: namespaces, Landlock, seccomp and limits, no package and no root needed."""

import os
from signal import SIGTERM

from evals.code.box import Box
from evals.code.inside.launch import NAMESPACES
from evals.code.interpreter import find_interpreter
from evals.code.limits import Limits


class Namespaces:
    """A sandbox of user, mount, network, process, IPC and host name namespaces."""

    name = "namespaces"

    def start(self, limits: Limits) -> Box:
        """Start a box. Where this kernel, or whoever runs this machine, forbids it, it never gets ready."""
        command = find_interpreter().command(NAMESPACES, os.getpid(), limits)
        return Box(command, limits, farewell=SIGTERM)
