"""What losses over steps say: overfitting is named where it appears, and noise is not called so."""

import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from evals.result import Metric
from reports.curves import Curves, Point, course, read_curves, sentence, shortened
from reports.document import Paragraph, Table
from reports.gather import gather
from reports.overfitting import overfitting_blocks
from sweep.record import TrialRecord
from sweep.spec import StudySpec
from sweep.store import RunDirectory

Make = Callable[..., TrialRecord]


@pytest.fixture
def record(study: Callable[..., StudySpec], trial: Make) -> TrialRecord:
    return trial(study(("lora",)), "lora", 0, {"training.learning_rate": 1e-4}, 0.4)


def curves(
    record: TrialRecord, validation: Sequence[float], train: Sequence[float], noise: float | None = None
) -> Curves:
    """Validations at even shares of the training steps."""
    stride = len(train) / len(validation)
    return Curves(
        record,
        tuple(Point(step, loss) for step, loss in enumerate(train, start=1)),
        tuple(Point(stride * place, loss) for place, loss in enumerate(validation, start=1)),
        noise,
    )


FALLING = [2.0 - 0.04 * step for step in range(40)]


@pytest.mark.parametrize(
    ("validation", "train", "noise", "expected"),
    [
        ([1.0, 0.8, 0.85, 0.95], FALLING, None, "overfitting"),
        ([1.0, 0.8, 0.85, 0.95], FALLING, 0.2, "settled"),  # a rise within the noise of the items
        ([1.0, 0.8, 0.805, 0.81], FALLING, None, "settled"),  # a rise of 1.25 %
        ([1.0, 0.8, 0.85, 0.95], [1.0] * 40, None, "settled"),  # the training loss did not fall
        ([1.0, 0.8, 0.7, 0.6], FALLING, None, "still falling"),
        ([1.0, 0.8, 0.7, 0.695], FALLING, None, "settled"),
        ([1.0, 0.8, 0.9, 1.2], [1.0 / step**2 for step in range(1, 41)], None, "memorising noise"),
        ([1.0], FALLING, None, "cannot be told"),
    ],
)
def test_the_course_is_named_by_its_rule(
    record: TrialRecord, validation: list[float], train: list[float], noise: float | None, expected: str
) -> None:
    assert course(curves(record, validation, train, noise)) == expected


def test_overfitting_is_said_with_its_numbers(record: TrialRecord) -> None:
    text = sentence("lora", curves(record, [1.0, 0.8, 0.85, 0.95], FALLING))

    # The training loss is that of the last tenth, four steps, up to step 20 and up to step 40: 1.30 and 0.50.
    assert text is not None
    assert "rose by 0.15 from its best, 0.8 at step 20, while its training loss fell by 0.8" in text


def test_a_settled_run_is_not_worth_a_sentence(record: TrialRecord) -> None:
    assert sentence("lora", curves(record, [1.0, 0.8, 0.8], FALLING)) is None


def test_the_gap_is_the_last_validation_less_the_training_loss_of_the_last_tenth(record: TrialRecord) -> None:
    found = curves(record, [1.0, 0.9], [2.0] * 36 + [0.5, 0.3, 0.5, 0.3])

    assert found.gap == pytest.approx(0.5)


def test_long_curves_are_averaged_over_stretches_and_short_ones_kept() -> None:
    points = [Point(step, float(step % 2)) for step in range(1000)]

    short = shortened(points, 10)

    assert len(short) == 10
    assert short[0] == Point(49.5, 0.5)
    assert shortened(points[:5], 10) == points[:5]


def test_values_that_are_no_numbers_are_left_out_and_the_noise_is_that_of_the_validation_items(
    tmp_path: Path, build: Callable[..., RunDirectory], record: TrialRecord
) -> None:
    run = build(tmp_path, search=False, confirm=False)
    assert record.evaluation is not None
    metrics = {"own/loss": Metric(value=0.4, stderr=0.03, n=40, higher_is_better=False)}
    record = record.model_copy(update={"evaluation": record.evaluation.model_copy(update={"metrics": metrics})})
    directory = run.directory_of(record.config)
    directory.path.mkdir(parents=True)
    lines = [{"step": 1, "loss": math.nan}, {"step": 2, "loss": 0.5}, {"step": 2, "validation_loss": 0.6}, {"loss": 1}]
    directory.steps.write_text("".join(json.dumps(line) + "\n" for line in lines) + '{"step": 3, "lo')

    found = read_curves(gather(run), record)

    assert found.train == (Point(2, 0.5),)
    assert found.validation == (Point(2, 0.6),)
    assert found.noise == 0.03


def test_every_finalist_has_a_row_and_repetitions_are_counted(finished_run: RunDirectory) -> None:
    blocks = overfitting_blocks(gather(finished_run), {})
    [table] = [block for block in blocks if isinstance(block, Table)]

    assert [row[0] for row in table.rows] == ["lora", "qlora", "full"]
    assert all("4 still falling" in row for row in table.rows)
    assert any(isinstance(block, Paragraph) and "had not finished learning" in block.text for block in blocks)
