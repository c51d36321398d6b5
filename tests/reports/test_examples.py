"""Answers that are shown beside each other."""

import json
from collections.abc import Callable
from pathlib import Path

from reports.document import Comparison
from reports.examples import example_blocks
from reports.gather import gather
from reports.summary import summarize
from sweep.spec import StudySpec
from sweep.store import RunDirectory


def test_an_answer_of_white_space_is_said_to_be_one(
    tmp_path: Path, build: Callable[..., RunDirectory], study: Callable[..., StudySpec]
) -> None:
    run = build(tmp_path, study(("lora",)))
    (path,) = run.confirm_baseline.eval.glob("samples_own_*.jsonl")
    samples = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    for sample in samples:
        blank = "\n" * 48 if sample["doc_id"] == 0 else ""
        sample["resps"][0] = [blank]
        sample["filtered_resps"][0] = blank
    path.write_text("".join(json.dumps(sample) + "\n" for sample in samples), "utf-8")
    gathered = gather(run)

    rows = [block for block in example_blocks(gathered, summarize(gathered)) if isinstance(block, Comparison)]

    shown = [next(code for code in row.parts if code.label.startswith("the base model")).text for row in rows]
    assert shown == ["(48 characters of white space)", *["(empty)"] * (len(rows) - 1)]
