"""One trial from its config to its record, with a real model, trainer and scorer."""

import errno
import gc
import json
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import psutil
import pytest
import torch

from evals.errors import ModelError
from evals.models.load import load_tokenizer
from evals.spec import ModelSpec, ScoringSpec, TaskSpec
from sweep.config import TrialConfig
from sweep.course import failure_of
from sweep.data.for_model import prepare_for
from sweep.data.prepare import PreparedData, prepare
from sweep.errors import TrialError
from sweep.progress import Progress
from sweep.record import TrialRecord
from sweep.spec import DataSpec, MethodSpec, PeftSpec, TrainingSpec
from sweep.store import TrialDirectory
from sweep.trial import run_trial

CPU = torch.device("cpu")
MEBIBYTE = 2**20


@pytest.fixture(scope="module", autouse=True)
def _quick_collections() -> Iterator[None]:
    """Trials collect garbage; what was imported before them need not be looked through each time."""
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture(scope="module")
def model(tiny_model) -> ModelSpec:
    return ModelSpec(model_name_or_path=str(tiny_model), dtype="float32")


@pytest.fixture(scope="module")
def prepared(model, tmp_path_factory) -> PreparedData:
    root = tmp_path_factory.mktemp("data")
    rows = [{"prompt": f"{number} + 1 =", "completion": f" {number + 1}"} for number in range(40)]
    (root / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return prepare(
        DataSpec(train="rows.jsonl", validation=0.2, test=0.1),
        load_tokenizer(model, cache=root),
        data_root=root,
        max_length=64,
        directory=root / "prepared",
        seed=0,
    )


def describe(model, kind="lora", *, deadline=None, peft=None, **training) -> TrialConfig:
    settings = {"num_train_epochs": 1, "effective_batch_size": 8, "learning_rate": 1e-3, "validations": 2, **training}
    adapter = None if kind == "full" else PeftSpec(**{"lora_r": 4, **(peft or {})})
    method = None if kind is None else MethodSpec(kind=kind, peft=adapter, training=TrainingSpec(**settings))
    return TrialConfig(
        study="toy",
        phase="search" if kind else "baseline",
        method=kind,
        number=0,
        seed=7,
        model=model,
        data=DataSpec(train="rows.jsonl"),
        data_root="somewhere",
        method_spec=method,
        max_length=64,
        split="validation",
        tasks=(TaskSpec(task="own", generate=False),),
        scoring=ScoringSpec(batch_size=4),
        deadline_seconds=deadline,
    )


def run(config, prepared, path, *, on_rung=None, on_progress=None, **more) -> TrialRecord:
    return run_trial(
        config,
        TrialDirectory(path / "trial"),
        prepared,
        cache=path / "cache",
        device=CPU,
        on_rung=on_rung or (lambda *_: False),
        on_progress=on_progress or (lambda _: None),
        **more,
    )


def test_finding_the_rows_counts_as_the_trials_time(model, prepared, tmp_path) -> None:
    record = run(describe(model, None), prepared, tmp_path, data_seconds=50.0)

    assert record.seconds["data"] == 50.0
    assert 50.0 < sum(record.seconds.values()) <= record.seconds_total


# Scoring a 4-bit model on a CPU with AVX512-BF16 rounds its constants once more.
@pytest.mark.parametrize(("kind", "tolerance"), [("lora", 1e-5), ("full", 1e-5), ("qlora", 5e-3)])
def test_a_trial_is_trained_saved_and_scored_from_what_was_saved(model, prepared, tmp_path, kind, tolerance) -> None:
    seen, rungs = [], []

    def keep_rung(rung, loss) -> bool:
        rungs.append((rung, loss))
        return False

    record = run(describe(model, kind), prepared, tmp_path, on_rung=keep_rung, on_progress=seen.append)

    assert (record.state, record.failure) == ("COMPLETE", None)
    assert record.intermediate == dict(rungs)
    assert list(record.intermediate) == [1, 2]
    # The same quantity, taken once by the trainer and once by lm-evaluation-harness over the reloaded checkpoint.
    scored = record.evaluation.metrics["own/loss"].value
    assert scored == pytest.approx(record.training.validation_loss, rel=tolerance)
    assert {"load", "train", "validate", "wait", "save", "score"} <= set(record.seconds)
    assert record.device.matrix_product.dtype == "float32"
    assert 0 < record.roofline_share < 1
    assert record.seconds_total >= sum(record.seconds.values())
    assert record.memory.host_bytes > 100 * MEBIBYTE
    assert record.data_sha256 == prepared.sha256
    assert torch.__version__.startswith(record.environment["torch"])
    assert next(progress.phase for progress in seen) == "load"
    assert {progress.phase for progress in seen} == {"load", "train", "validate", "score"}
    assert {path.name for path in (tmp_path / "trial").iterdir()} == {"checkpoint", "steps.jsonl", "eval"}
    TrialRecord.model_validate_json(record.model_dump_json())


def test_the_base_model_is_only_scored(model, prepared, tmp_path) -> None:
    record = run(describe(model, None), prepared, tmp_path)

    assert (record.state, record.training) == ("COMPLETE", None)
    assert record.evaluation.metrics["own/loss"].n == prepared.rows["validation"]
    assert {path.name for path in (tmp_path / "trial").iterdir()} == {"eval"}


def test_a_pruned_trial_is_not_scored_and_keeps_no_checkpoint_of_an_earlier_attempt(model, prepared, tmp_path) -> None:
    leftover = tmp_path / "trial" / "checkpoint"
    leftover.mkdir(parents=True)

    record = run(describe(model), prepared, tmp_path, on_rung=lambda rung, _: rung == 1)

    assert (record.state, record.evaluation) == ("PRUNED", None)
    assert record.training.optimizer_steps < 4
    assert list(record.intermediate) == [1]
    assert not leftover.exists()


@dataclass(frozen=True)
class Ending:
    """What ends a trial, and as what."""

    kind: str
    settings: dict
    on_progress: Callable[[Progress], None] | None = None


def interrupt(progress) -> None:
    if progress.phase == "validate":
        raise KeyboardInterrupt


def exhaust(progress) -> None:
    if progress.phase == "score":
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")


@pytest.mark.parametrize(
    "end",
    [
        Ending("deadline", {"deadline": 0.0}),
        Ending("diverged", {"kind": "full", "learning_rate": 1e20, "lr_scheduler_type": "constant"}),
        Ending("infeasible", {"peft": {"lora_target_modules": ("nowhere",)}}),
        Ending("interrupted", {}, interrupt),
        Ending("out_of_memory", {}, exhaust),
    ],
    ids=lambda end: end.kind,
)
def test_a_trial_that_ends_early_is_recorded_as_what_it_is(model, prepared, tmp_path, end) -> None:
    record = run(describe(model, **end.settings), prepared, tmp_path, on_progress=end.on_progress)

    assert (record.state, record.failure.kind) == ("FAIL", end.kind)
    assert record.failure.traceback is None
    assert record.failure.message.endswith(".")
    assert record.evaluation is None
    assert not (tmp_path / "trial" / "checkpoint").exists()


def test_a_bug_is_recorded_with_where_it_happened(model, prepared, tmp_path) -> None:
    def fail(*_) -> bool:
        raise ZeroDivisionError("one over nothing")

    record = run(describe(model), prepared, tmp_path, on_rung=fail)

    assert (record.failure.kind, record.failure.message) == ("error", "ZeroDivisionError: one over nothing")
    assert "in fail" in record.failure.traceback
    assert len(record.intermediate) == 1


@pytest.mark.parametrize(
    ("config", "named"),
    [
        (lambda model: describe(model.model_copy(update={"model_name_or_path": "./nowhere"})), "nowhere"),
        (lambda model: describe(model, "lora", peft={"init_lora_weights": "loftq"}), "loftq"),
    ],
)
def test_what_the_user_has_to_mend_is_raised_and_not_recorded(model, prepared, tmp_path, config, named) -> None:
    with pytest.raises(ModelError, match=named):
        run(config(model), prepared, tmp_path)


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (MemoryError(), "out_of_memory"),
        (torch.OutOfMemoryError("CUDA out of memory."), "out_of_memory"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 bytes"), "out_of_memory"),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate"), "out_of_memory"),
        (RuntimeError("can't start new thread"), "out_of_memory"),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), "out_of_memory"),
        (OSError(errno.ENOSPC, "No space left on device"), "disk"),
        (RuntimeError("shapes cannot be multiplied"), "error"),
        (KeyboardInterrupt(), "interrupted"),
        (TrialError("infeasible", "No such layer."), "infeasible"),
        (OSError("No space left on device"), "disk"),
    ],
)
def test_what_an_error_means_for_a_trial(error, kind) -> None:
    failure = failure_of(error)

    assert failure.kind == kind
    assert "\n" not in failure.message
    assert (failure.traceback is not None) == (kind == "error")


def test_the_cpu_allocator_running_out_is_out_of_memory() -> None:
    with pytest.raises(RuntimeError) as raised:
        torch.empty(2**60)

    assert failure_of(raised.value).kind == "out_of_memory"


def test_two_trials_of_one_config_give_the_same_weights_and_scores(model, prepared, tmp_path) -> None:
    first = run(describe(model, "qlora"), prepared, tmp_path / "a")
    second = run(describe(model, "qlora"), prepared, tmp_path / "b")

    assert first.training.final_sha256 == second.training.final_sha256
    assert first.evaluation.metrics == second.evaluation.metrics
    assert first.config_fingerprint == second.config_fingerprint


def test_where_all_answers_are_one_class_every_score_is_a_number(model, tmp_path) -> None:
    rows = [{"prompt": f"Mail {number}: ", "completion": "spam"} for number in range(40)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    data = DataSpec(train="rows.jsonl", validation=0.2, test=0.1, answer="label")
    prepared = prepare_for(
        model, data, data_root=tmp_path, max_length=64, directory=tmp_path / "d", seed=0, cache=tmp_path, hub=None
    )
    config = describe(model).model_copy(update={"tasks": (TaskSpec(task="own"),)})

    record = run(config, prepared, tmp_path)

    assert record.state == "COMPLETE", record.failure
    metrics = record.evaluation.metrics
    assert metrics["own/accuracy"].value == metrics["own/macro_f1"].value == 1.0
    assert all(math.isfinite(metric.value) for metric in metrics.values())
    assert all(metric.stderr is None or math.isfinite(metric.stderr) for metric in metrics.values())


def test_nothing_is_written_into_the_working_directory(model, prepared, tmp_path, monkeypatch) -> None:
    elsewhere = tmp_path / "cwd"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)

    run(describe(model), prepared, tmp_path)

    assert list(elsewhere.iterdir()) == []


def test_many_trials_in_one_process_hold_no_more_than_a_few(model, prepared, tmp_path) -> None:
    process = psutil.Process()

    def held() -> tuple[int, int, int]:
        return process.memory_info().rss, process.num_fds(), process.num_threads()

    def trial(number: int) -> None:
        kind = ("lora", "qlora", "full")[number % 3]
        run(describe(model, kind, max_steps=1, validations=1), prepared, tmp_path / str(number))

    for number in range(3):
        trial(number)
    before = held()
    for number in range(3, 15):
        trial(number)
    after = held()

    assert after[0] - before[0] < 40 * MEBIBYTE
    assert after[1] - before[1] <= 2
    assert after[2] - before[2] <= 2
    assert len(list(tmp_path.iterdir())) == 15
