"""Score a prefetched model on a prefetched task inside a network namespace that has no interface but a dead loopback.

Exit code 77: this machine forbids unprivileged user namespaces.
"""

import ctypes
import json
import os
import socket
import sys
from pathlib import Path

CLONE_NEWUSER, CLONE_NEWNET = 0x10000000, 0x40000000
SKIPPED = 77


def leave_the_network() -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWUSER | CLONE_NEWNET) != 0:
        sys.stderr.write(os.strerror(ctypes.get_errno()))
        sys.exit(SKIPPED)


def loopback_is_up() -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        return probe.connect_ex(("127.0.0.1", 9)) == 0


def main(root: Path, tasks: Path, output: Path) -> None:
    leave_the_network()
    import torch

    from evals.harness import score
    from evals.models.scored import load_lm
    from evals.models.source import local_model
    from evals.spec import ModelSpec, ScoringSpec, TaskSpec
    from evals.tasks.library import TaskLibrary

    scoring = ScoringSpec(batch_size=2, data_root=root)
    model = local_model(ModelSpec(model_name_or_path="toys/tiny", dtype="float32"), root)
    lm = load_lm(model, cache=output, device=torch.device("cpu"), batch_size=2)
    result = score(
        lm,
        [TaskSpec(task="toy_questions")],
        scoring,
        own=None,
        output=output / "eval",
        library=TaskLibrary(include=tasks),
    )
    interfaces = [name for _, name in socket.if_nameindex()]
    found = {"interfaces": interfaces, "up": loopback_is_up(), "items": result.metrics["toy_questions/acc"].n}
    sys.stdout.write(json.dumps(found))


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
