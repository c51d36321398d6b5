"""Every pinned package is on the bill of materials with a licence that somebody has admitted."""

import importlib.util
import json
import re
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def sbom() -> ModuleType:
    spec = importlib.util.spec_from_file_location("sbom", ROOT / ".ci" / "sbom.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_bill_is_complete(sbom: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    # Counted apart from how the script reads the file.
    pinned = re.findall(
        r"^([\w.-]+)(?:\[.*?\])?==([^\s;]+)", (ROOT / "requirements.lock").read_text("utf-8"), re.MULTILINE
    )

    assert sbom.main([]) == 0
    found = json.loads(capsys.readouterr().out)

    assert (found["bomFormat"], found["specVersion"]) == ("CycloneDX", "1.6")
    assert [(one["name"], one["version"]) for one in found["components"]] == pinned
    assert len({one["bom-ref"] for one in found["components"]}) == len(pinned)
    for one in found["components"]:
        assert one["licenses"][0]["expression"], one["name"]
        assert all(re.fullmatch(r"[0-9a-f]{64}", member["value"]) for member in one["properties"])
        assert one["properties"], one["name"]


def test_every_licence_is_admitted(sbom: ModuleType) -> None:
    assert sbom.refused(sbom.read_lock()) == []


@pytest.mark.parametrize(
    ("expression", "admitted"),
    [
        ("MIT", True),
        ("GPL-3.0-only", False),
        ("AGPL-3.0-only OR MIT", True),
        ("MIT AND AGPL-3.0-only", False),
        ("(MIT AND ISC) OR GPL-2.0-only", True),
        ("", False),
        ("OSI Approved", False),
    ],
)
def test_a_licence_is_admitted_by_every_part_of_it(sbom: ModuleType, expression: str, admitted: bool) -> None:
    assert sbom.is_allowed(expression) is admitted


def test_a_package_of_an_unknown_licence_fails(
    sbom: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sbom, "READ", {**sbom.READ, "numpy": "Secret-1.0"})

    assert sbom.main([]) == 1
    assert "not admitted: numpy: Secret-1.0" in capsys.readouterr().err


def test_licences_are_listed(sbom: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    sbom.main(["--licences"])

    shown = capsys.readouterr().out
    assert all(f" {pin.name}," in shown or f" {pin.name} |" in shown for pin in sbom.read_lock())
