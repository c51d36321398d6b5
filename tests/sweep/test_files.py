"""What is said of a file of a run directory that cannot be used."""

import json
from pathlib import Path

import pytest

from sweep.errors import RunDirectoryError
from sweep.store import TrialDirectory


def test_a_damaged_record_is_named_in_one_bounded_line_whatever_is_in_it(tmp_path: Path) -> None:
    (tmp_path / "record.json").write_text(json.dumps({"a" * 50_000: None}))

    with pytest.raises(RunDirectoryError) as caught:
        TrialDirectory(tmp_path).read_record()

    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 2000
