"""A pytest plugin: fuzz tests whose inputs are chosen by the branches that they reach, by libFuzzer through Atheris.

`tests/benchmarks/guided_fuzz.py` loads it. Hypothesis turns libFuzzer's bytes into what a test takes, so that a test is
the same either way. What is to be guided by has to be instrumented as it is imported: a plugin is loaded before tests.
"""

import os
import re
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings

SLOW_SECONDS = 20
"""An input that takes longer hangs its reader."""
MOST_BYTES = 4096
"""Of libFuzzer's, of which Hypothesis makes one input."""
MOST_MEGABYTES = 4096
"""Resident memory at which a reader is said to take too much."""
KEPT_LINES = 60
"""Of what a failing test printed last."""
SEEDS = 64
"""Inputs to begin with: from fewer bytes Hypothesis makes nothing, and libFuzzer alone begins with one."""
PACKAGES = ("sweep", "evals", "reports")
"""Guided by their branches; those of a parser outside are many, and slow to count."""
COUNTED = re.compile(r"^stat::number_of_executed_units:\s*(\d+)$|\bcov: (\d+)", re.MULTILINE)


@dataclass(frozen=True)
class Guided:
    """Instead of Hypothesis's own settings: the test that it is given runs under libFuzzer."""

    seconds: int
    """For each test."""
    found: Path
    """Directory for inputs that a test failed on, and for what libFuzzer printed."""
    replayed: Path | None = None
    """An input found before: it alone is tried."""
    seed: int = 0
    """Of libFuzzer's choices; 0 is another one each time."""

    def __call__(self, test: Callable[[], None]) -> Callable[[], None]:
        one_input = settings(database=None)(test).hypothesis.fuzz_one_input  # type: ignore[attr-defined]
        if self.replayed is not None:
            content = self.replayed.read_bytes()
            return lambda: one_input(content)
        return lambda: self._fuzz(one_input)

    def _fuzz(self, one_input: Callable[[bytes], object]) -> None:
        """In a process of its own, for libFuzzer ends the one that it is in."""
        test = os.environ["PYTEST_CURRENT_TEST"].rpartition("::")[2].removesuffix(" (call)")
        name = re.sub(r"[^\w.-]+", "_", re.sub(r"\bquick-?", "", test)).strip("_")
        log = self.found / f"{name}.log"
        child = os.fork()
        if not child:
            self._be_fuzzed(one_input, log, name)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        text = log.read_text("utf-8", "replace")
        counted = COUNTED.findall(text)
        if code or not counted:
            pytest.fail("\n".join(text.splitlines()[-KEPT_LINES:]), pytrace=False)
        units, branches = (max((int(one) for one in column if one), default=0) for column in zip(*counted, strict=True))
        with (self.found / "tried.tsv").open("a") as table:
            table.write(f"{name}\t{units}\t{branches}\n")

    def _be_fuzzed(self, one_input: Callable[[bytes], object], log: Path, name: str) -> None:
        import atheris

        try:
            with log.open("wb") as stream:
                for descriptor in (1, 2):
                    os.dup2(stream.fileno(), descriptor)
            sys.stdout, sys.stderr = os.fdopen(1, "w"), os.fdopen(2, "w")
            limits = {"max_total_time": self.seconds, "timeout": SLOW_SECONDS, "rss_limit_mb": MOST_MEGABYTES}
            corpus = self.found / f"{name}.corpus"
            corpus.mkdir(exist_ok=True)
            random = np.random.default_rng(0)
            for number in range(SEEDS):
                (corpus / f"seed-{number}").write_bytes(random.bytes(random.integers(1, MOST_BYTES)))
            sizes = {"max_len": MOST_BYTES, "len_control": 0, "print_final_stats": 1, "seed": self.seed}
            options = [f"-{key}={value}" for key, value in (limits | sizes).items()]
            atheris.Setup([name, *options, f"-artifact_prefix={self.found}/{name}-", str(corpus)], one_input)
            atheris.Fuzz()
        except BaseException:  # noqa: BLE001 - the process ends here, whatever it was
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(1)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--guided-seconds", type=int, default=60)
    parser.addoption("--guided-found", type=Path, default=None)
    parser.addoption("--guided-input", type=Path, default=None)
    parser.addoption("--guided-seed", type=int, default=0)
    parser.addoption("--guided-package", action="append", default=None)


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    import atheris

    config.guided = Guided(  # type: ignore[attr-defined]
        config.getoption("--guided-seconds"),
        config.getoption("--guided-found"),
        config.getoption("--guided-input"),
        config.getoption("--guided-seed"),
    )
    atheris.instrument_imports(include=config.getoption("--guided-package") or PACKAGES).__enter__()
