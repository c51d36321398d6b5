"""A grader that the user wrote: found without running it, loaded from its copy, and its failures counted."""

import hashlib
from pathlib import Path

import pytest

from evals.errors import TaskError
from evals.spec import GraderSpec, OwnRow
from evals.tasks.aggregate import AGGREGATIONS
from evals.tasks.user_grader import UserGrader, find_grader

ROWS = [
    OwnRow(row=7, prompt="2+2?", completion="4", answer="4"),
    OwnRow(row=9, prompt="1+1?", completion="2", answer="2"),
]


def write(folder: Path, body: str, name: str = "grade") -> GraderSpec:
    file = folder / "grader.py"
    file.write_text(f"def {name}(prompt, answer, target):\n    {body}\n")
    return GraderSpec(file=file, function=name, sha256=hashlib.sha256(file.read_bytes()).hexdigest())


def load(folder: Path, body: str, name: str = "grade") -> UserGrader:
    return UserGrader(write(folder, body, name), taken=AGGREGATIONS)


def test_a_number_is_a_metric_named_after_the_function(tmp_path: Path) -> None:
    near = load(tmp_path, "return 1 - abs(int(answer) - int(target)) / 4", name="near")

    assert near(ROWS[0], "2") == {"near": 0.5, "grader_error": 0.0}


def test_a_mapping_gives_several_metrics_and_sees_the_prompt(tmp_path: Path) -> None:
    grader = load(tmp_path, "return {'right': answer == target, 'asked': len(prompt)}")

    assert grader(ROWS[0], "4") == {"right": 1.0, "asked": 4.0, "grader_error": 0.0}


@pytest.mark.parametrize(
    "body",
    [
        "raise KeyError('x')",
        "return 'good'",
        "return None",
        "return float('nan')",
        "return {'exact_match': 1}",
        "return {'a/b': 1}",
    ],
)
def test_a_failure_is_counted_remembered_and_gives_no_score(body: str, tmp_path: Path) -> None:
    grader = load(tmp_path, body)

    assert grader(ROWS[0], "4") == {"grader_error": 1.0}
    assert list(grader.errors) == [7]
    with pytest.raises(TaskError, match=r"fails even on the expected answers, such as row 7's"):
        grader.refuse_broken(ROWS)


def test_a_grader_that_works_on_some_expected_answer_is_taken(tmp_path: Path) -> None:
    grader = load(tmp_path, "return 1 / (int(answer) - 4)")

    grader.refuse_broken(ROWS)

    assert grader.errors == {}


def test_a_number_of_numpys_is_a_number(tmp_path: Path) -> None:
    assert load(tmp_path, "import numpy; return numpy.float32(0.5)")(ROWS[0], "4")["grade"] == 0.5


def test_a_file_that_has_changed_since_is_refused(tmp_path: Path) -> None:
    spec = write(tmp_path, "return 1")
    spec.file.write_text("def grade(prompt, answer, target):\n    return 0\n")

    with pytest.raises(TaskError, match="not the grader that the data were prepared with"):
        UserGrader(spec, taken=AGGREGATIONS)


def test_a_file_that_cannot_be_loaded_is_refused_in_one_line(tmp_path: Path) -> None:
    file = tmp_path / "grader.py"
    file.write_text("import nothing_of_this_name\ndef grade(prompt, answer, target): return 1\n")
    spec = GraderSpec(file=file, function="grade", sha256=hashlib.sha256(file.read_bytes()).hexdigest())

    with pytest.raises(TaskError, match=r"grader\.py: the grader cannot be loaded: ModuleNotFoundError"):
        UserGrader(spec, taken=AGGREGATIONS)


def test_a_grader_is_found_without_being_run(tmp_path: Path) -> None:
    (tmp_path / "g.py").write_text("raise SystemExit\ndef grade(prompt, answer, target=''): ...\n")

    found = find_grader("g.py:grade", tmp_path)

    assert found.function == "grade"
    assert found.sha256 == hashlib.sha256((tmp_path / "g.py").read_bytes()).hexdigest()


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("os.path:join", "write file.py:function"),
        ("g.py", "write file.py:function"),
        ("../outside.py:grade", "outside the study's directory"),
        ("link.py:grade", "outside the study's directory"),
        ("none.py:grade", "cannot be read"),
        ("broken.py:grade", "is not Python"),
        ("g.py:grad", "defines no function 'grad'; it defines grade, two, keyword."),
        ("g.py:two", "must take three arguments"),
        ("g.py:keyword", "must take three arguments"),
    ],
)
def test_what_cannot_be_a_grader_is_refused(name: str, says: str, tmp_path: Path) -> None:
    study = tmp_path / "study"
    study.mkdir()
    (tmp_path / "outside.py").write_text("def grade(prompt, answer, target): ...\n")
    (study / "link.py").symlink_to(tmp_path / "outside.py")
    (study / "broken.py").write_text("def grade(:\n")
    (study / "g.py").write_text("def grade(*all): ...\ndef two(a, b): ...\ndef keyword(a, b, c, *, d): ...\n")

    with pytest.raises(TaskError, match=says):
        find_grader(name, study)


def test_a_grader_whose_name_no_file_can_have_lies_nowhere(tmp_path: Path) -> None:
    with pytest.raises(TaskError, match="lies outside"):
        find_grader("grade\0.py:grade", tmp_path)
