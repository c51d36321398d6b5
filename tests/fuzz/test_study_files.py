"""No study file, however wrong, gets anything but a list of problems: each with a place, each a sentence."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml
from hostile_values import TEXTS, VALUES, mutated, written
from hypothesis import given, settings
from hypothesis import strategies as st

from sweep.errors import Problem, StudyFileError
from sweep.spec import StudySpec
from sweep.study_file import reader

STUDY: dict[str, Any] = {
    "name": "fuzzed",
    "model": {"model_name_or_path": "nobody/nothing", "revision": "main"},
    "data": {"train": "rows.jsonl", "validation": 0.1, "test": 0.1, "columns": {"prompt": "q"}, "answer": "auto"},
    "methods": {"lora": {"peft": {"lora_r": 8, "lora_target_modules": ["q_proj"]}}, "full": {}},
    "training": {"learning_rate": 1e-4, "num_train_epochs": 1, "max_length": 64},
    "search_space": {
        "methods.lora.peft.lora_r": {"values": [8, 16]},
        "training.learning_rate": {"min": 1e-5, "max": 1e-3, "log": True},
    },
    "evaluation": {"search": ["own"], "confirm": ["own", {"task": "mmlu", "num_fewshot": 5}], "general_text": True},
    "objective": {"minimize": "own/loss"},
    "budget": {"trials_per_method": 2, "confirm_seeds": 1},
    "sampler": {"name": "tpe"},
    "pruner": {"name": "none"},
    "storage": "postgresql://me:${PASSWORD}@host/db",
}  # fmt: skip
YAML_PIECES = st.sampled_from(
    [
        *(
            "name: x",
            "a: &a [1]",
            "b: *a",
            "<<: *a",
            "- ",
            "? ",
            ": ",
            "[",
            "]",
            "{",
            "}",
            "!!set ",
            "|",
            ">",
            "---",
            "...",
        ),
        *("#", "\t", "\n", "  ", '"', "'", "%YAML 1.1", "!<x>", "methods: [lora]", "seed: 0o17", "1: 2", "\x85", "~"),
    ]
)


def problems_of(path: Path, overrides: Sequence[str] = ()) -> Sequence[Problem]:
    """What is wrong with a study file; none where it is read as a study."""
    try:
        assert isinstance(reader.load(path, overrides), StudySpec)
    except StudyFileError as error:
        return error.problems or pytest.fail("an error without a problem")
    return ()


def read(path: Path, content: bytes) -> None:
    """Read a study file; anything but a study or a list of problems is a bug."""
    path.write_bytes(content)
    (path.parent / "rows.jsonl").write_text("{}\n")
    for problem in problems_of(path):
        assert problem.message.endswith((".", "?", ")")), problem.message
        assert len(str(problem)) < 20_000


def test_a_study_with_anything_in_it(effort: settings, tmp_path: Path) -> None:
    @effort
    @given(mutated(STUDY))
    def check(study: object) -> None:
        # JSON is YAML, and says what YAML's writers would not.
        read(tmp_path / "study.yaml", written(study).encode())

    check()


def test_a_study_as_yaml_writes_it(effort: settings, tmp_path: Path) -> None:
    @effort
    @given(mutated(STUDY))
    def check(study: object) -> None:
        try:
            text = yaml.safe_dump(study, allow_unicode=True)
        except (RecursionError, yaml.YAMLError):
            return
        read(tmp_path / "study.yaml", text.encode("utf-8", "surrogatepass"))

    check()


def test_anything_that_looks_like_yaml(effort: settings, tmp_path: Path) -> None:
    @effort
    @given(st.lists(YAML_PIECES | TEXTS, max_size=12).map("".join))
    def check(text: str) -> None:
        read(tmp_path / "study.yaml", text.encode("utf-8", "surrogatepass"))

    check()


def test_any_bytes(effort: settings, tmp_path: Path) -> None:
    @effort
    @given(st.binary(max_size=200))
    def check(content: bytes) -> None:
        read(tmp_path / "study.yaml", content)

    check()


def test_any_override(effort: settings, tmp_path: Path) -> None:
    (tmp_path / "study.yaml").write_text(json.dumps(STUDY))
    (tmp_path / "rows.jsonl").write_text("{}\n")

    @effort
    @given(
        TEXTS
        | st.builds(
            "{}={}".format,
            st.sampled_from(["seed", "methods.lora.peft.lora_r", "a..b", "data"]),
            TEXTS | VALUES.map(written),
        )
    )
    def check(override: str) -> None:
        problems_of(tmp_path / "study.yaml", [override])

    check()
