"""A score's files are all there or not there at all."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from evals.errors import RunError
from evals.saving import TRACKED, replaced, write_files

STAMP = "2026-01-31T12-00-00.000000"


class ForgetfulTracker(SimpleNamespace):
    """Writes like lm-evaluation-harness's tracker, but not all of it, and says nothing."""

    def save_results_aggregated(self, results: object, samples: object) -> None:  # noqa: ARG002
        self.date_id = STAMP
        (self.directory / TRACKED / "model").mkdir(parents=True)
        (self.directory / TRACKED / "model" / f"results_{STAMP}.json").write_text("{}\n")

    def save_results_samples(self, task_name: str, samples: list[object]) -> None:  # noqa: ARG002
        if self.written is not None:
            path = self.directory / TRACKED / "model" / f"samples_{task_name}_{STAMP}.jsonl"
            path.write_text("{}\n" * self.written)


def test_files_come_out_of_the_models_directory(tmp_path: Path) -> None:
    names = write_files(ForgetfulTracker(directory=tmp_path, written=2), tmp_path, {}, {"a": [1, 2]})

    assert names == {"a": f"samples_a_{STAMP}.jsonl"}
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"results_{STAMP}.json", names["a"]]


@pytest.mark.parametrize(("written", "complaint"), [(None, "did not write"), (1, "holds 1 items of 2")])
def test_a_missing_or_short_file_is_an_error(tmp_path: Path, written: int | None, complaint: str) -> None:
    with pytest.raises(RunError, match=complaint):
        write_files(ForgetfulTracker(directory=tmp_path, written=written), tmp_path, {}, {"a": [1, 2]})


def test_a_directory_is_replaced_whole_or_left_alone(tmp_path: Path) -> None:
    output = tmp_path / "eval"
    output.mkdir()
    (output / "old").touch()

    def fail_halfway() -> None:
        with replaced(output) as scratch:
            (scratch / "half").touch()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail_halfway()
    assert [path.name for path in output.iterdir()] == ["old"]

    with replaced(output) as scratch:
        (scratch / "new").touch()
    assert [path.name for path in output.iterdir()] == ["new"]
    assert [path.name for path in tmp_path.iterdir()] == ["eval"]


def test_what_a_killed_process_left_is_cleared(tmp_path: Path) -> None:
    (tmp_path / ".eval-left").mkdir()

    with replaced(tmp_path / "eval"):
        pass

    assert [path.name for path in tmp_path.iterdir()] == ["eval"]
