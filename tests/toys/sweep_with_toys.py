"""The `sweep` command itself, but that a trial takes no time, or as many seconds as TOY_SECONDS says.

Trials that are run are written to `calls` in the cache directory. TOY_PATIENCE is how long a database is waited for.
"""

import os
import sys
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from sweep.interrupts import leaving_at_once

with leaving_at_once():
    from toy_runner import counted_toy

    import sweep.worker
    from sweep.start import main


if __name__ == "__main__":
    with leaving_at_once():
        import sweep.search.mirror
        import sweep.study.phases

        sweep.worker.TrialRunner = partial(counted_toy, float(os.environ.get("TOY_SECONDS", "0")))
        patience = float(os.environ.get("TOY_PATIENCE", "600"))
        sweep.search.mirror.Storage = partial(sweep.search.mirror.Storage, patience_seconds=patience)
    sys.exit(main())
