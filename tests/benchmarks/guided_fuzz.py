"""All fuzz tests with inputs chosen by the branches that they reach: `guided_fuzz.py [--seconds N] [-k TESTS]`.

An input that raises what it should not, takes more than 20 s or more than 4 GiB ends its test and is kept in `--found`;
`--guided-input FILE -k TEST` tries it again. Prints a table: inputs tried, branches reached, what was found.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

TESTS = Path(__file__).parents[1]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=int, default=60, help="for each test")
    parser.add_argument("--found", type=Path, default=None, help="directory for what is found; a temporary one")
    parser.add_argument("-k", default="not guided", help="tests, as pytest selects them")
    asked, others = parser.parse_known_args()
    found = asked.found or Path(tempfile.mkdtemp(prefix="fuzz-"))
    found.mkdir(parents=True, exist_ok=True)
    table = found / "tried.tsv"
    table.unlink(missing_ok=True)
    before = set(found.iterdir())

    paths = [str(TESTS / "toys"), str(TESTS.parent), os.environ.get("PYTHONPATH", "")]
    command = [sys.executable, "-m", "pytest", "-q", "-p", "guided", "-p", "no:cacheprovider", str(TESTS / "fuzz")]
    options = ["-k", asked.k, "--guided-seconds", str(asked.seconds), "--guided-found", str(found), *others]
    ended = subprocess.run(
        [*command, *options], cwd=TESTS.parent, env=os.environ | {"PYTHONPATH": os.pathsep.join(paths)}, check=False
    )

    rows = [line.split("\t") for line in table.read_text().splitlines()] if table.exists() else []
    sys.stdout.write("\n| Test | Inputs | Branches reached |\n|---|---:|---:|\n")
    sys.stdout.writelines(f"| `{name}` | {int(inputs):,} | {int(branches):,} |\n" for name, inputs, branches in rows)
    kept = sorted(path.name for path in set(found.iterdir()) - before if path.suffix not in (".log", ".corpus", ".tsv"))
    sys.stdout.write(f"\n{sum(int(row[1]) for row in rows):,} inputs; found: {', '.join(kept) or 'nothing'}\n")
    return ended.returncode


if __name__ == "__main__":
    raise SystemExit(main())
