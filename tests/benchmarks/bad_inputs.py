"""Give the real command line everything that it should not be given, and say what it answered, as Markdown.

    python tests/benchmarks/bad_inputs.py > docs/bad-inputs.md      # all of it, some minutes

Each input is made in an empty directory that the command starts in. A traceback, a hang or a surprise in the exit code
ends this with 1. What needs no model is tried by the ordinary tests too, which compare it with the document.
"""

import multiprocessing
import os
import shutil
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "toys")]

from bad_list import DATA, MODELS, RUNS, SCORES, STUDIES, Bad  # noqa: E402 - found by the line above

SECONDS = 300
SHOWN = 260
NOISE = ("[transformers]", "Loading weights", "Writing model")
RUN = "import sys; from sweep.cli import main; sys.exit(main())"
HEAD = """\
# Bad inputs, and what they are answered

Written by `python tests/benchmarks/bad_inputs.py`, which gives each to the real command line in a directory of its own.
Exit code 2 means that the input is wrong and says how, 0 that the command did its work all the same. Nothing here ends
in a traceback, a hang or a full memory, and nothing of it runs.
"""
GROUPS = (
    ("Study files", STUDIES),
    ("Data", DATA),
    ("Run directories from elsewhere", RUNS),
    ("Scores from elsewhere", SCORES),
    ("Models and adapters", MODELS),
)


@dataclass(frozen=True)
class Answer:
    """What a command said."""

    code: int
    text: str

    def row(self, bad: Bad) -> str:
        """The row of the table."""
        return f"| {bad.given} | `sweep {' '.join(bad.command)}` | {self.code} | {cell(self.text)} |"


def cell(text: str) -> str:
    """The first lines of an answer within a table."""
    # What libraries say of their own accord comes before the answer.
    lines = [line for line in text.strip().splitlines() if line.strip() and not line.startswith(NOISE)]
    first = lines[0] if lines else "(nothing)"
    first = first if len(first) <= SHOWN else f"{first[:SHOWN]}…"
    more = f" (and {len(lines) - 1} more)" if len(lines) > 1 else ""
    return f"{escaped(first)}{more}"


def escaped(text: str) -> str:
    """As it is, within a table of Markdown."""
    return "".join(f"\\{character}" if character in "\\`*_[]<>|~&$" else character for character in text)


def ask(bad: Bad, directory: Path, call: Callable[[Sequence[str]], Answer]) -> Answer:
    """Make the input and give it to a command."""
    bad.make(directory)
    return call(bad.command)


def call_in(directory: Path) -> Callable[[Sequence[str]], Answer]:
    """Call the command line in a process of its own."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1", "NO_COLOR": "1"}

    def call(command: Sequence[str]) -> Answer:
        done = subprocess.run(
            [sys.executable, "-c", RUN, *command],
            cwd=directory, env=environment, capture_output=True, text=True, check=False, timeout=SECONDS,
        )  # fmt: skip
        return Answer(done.returncode, done.stderr if done.returncode else done.stdout)

    return call


def call_beside(directory: Path) -> Callable[[Sequence[str]], Answer]:
    """Call the command line in a copy of this process, which has imported it already: many times as fast."""
    from sweep import cli

    def serve(command: Sequence[str]) -> None:
        os.environ |= {"HF_HUB_OFFLINE": "1", "NO_COLOR": "1", "COLUMNS": "80"}
        os.chdir(directory)
        for stream, name in ((1, "out"), (2, "err")):
            os.dup2(os.open(directory.with_suffix(f".{name}"), os.O_WRONLY | os.O_CREAT | os.O_TRUNC), stream)
        try:
            code = cli.main(command)
        except BaseException:  # noqa: BLE001 - a bug is what is looked for
            traceback.print_exc()
            code = 70
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)

    def call(command: Sequence[str]) -> Answer:
        process = multiprocessing.get_context("fork").Process(target=serve, args=(command,))
        process.start()
        process.join(SECONDS)
        if process.exitcode is None:
            process.kill()
            return Answer(124, f"no end within {SECONDS} seconds")
        said = {name: directory.with_suffix(f".{name}") for name in ("out", "err")}
        texts = {name: path.read_text("utf-8", errors="replace") for name, path in said.items()}
        for path in said.values():
            path.unlink()
        return Answer(process.exitcode, texts["err" if process.exitcode else "out"])

    return call


def main() -> int:
    """Try everything and print the document."""
    amiss, count, began = [], 0, time.monotonic()
    sys.stdout.write(HEAD)
    for title, group in GROUPS:
        sys.stdout.write(f"\n## {title}\n\n| given | to | exit | answer |\n| --- | --- | ---: | --- |\n")
        for bad in group:
            directory = Path(tempfile.mkdtemp(prefix="bad-"))
            try:
                answer = ask(bad, directory, (call_in if group is MODELS else call_beside)(directory))
            finally:
                shutil.rmtree(directory)
            count += 1
            if answer.code != bad.code or "Traceback" in answer.text:
                amiss.append(f"{bad.given}: {answer.code}: {answer.text[-2000:]}")
            sys.stdout.write(answer.row(bad) + "\n")
            sys.stdout.flush()
    sys.stderr.write(f"{count} inputs in {time.monotonic() - began:.0f} s\n")
    sys.stderr.write("".join(f"\nAMISS: {line}\n" for line in amiss))
    return int(bool(amiss))


if __name__ == "__main__":
    sys.exit(main())
