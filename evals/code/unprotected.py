"""No sandbox: a plain process with limits, for machines that have no walls to offer and nothing to lose.

Verdicts are as sound as in a sandbox, because they do not depend on walls. The machine is at the programs' mercy.
"""

import os
from tempfile import TemporaryDirectory

from evals.code.box import Box
from evals.code.inside.launch import UNPROTECTED
from evals.code.interpreter import find_interpreter
from evals.code.limits import Limits


class Unprotected:
    """Runs programs with the user's rights."""

    name = "unprotected"

    def start(self, limits: Limits) -> Box:
        """Start an interpreter without walls, in a temporary directory."""
        command = find_interpreter().command(UNPROTECTED, os.getpid(), limits)
        scratch = TemporaryDirectory(prefix="unprotected-", ignore_cleanup_errors=True)
        return Box(command, limits, scratch=scratch)
