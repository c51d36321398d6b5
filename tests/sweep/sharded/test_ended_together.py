"""How trials over two processes end: by the pruner, or by a fault of one of them."""

import time

import psutil
import pytest
from sharded_trials import describe, members, prepare_sums, read_steps, run

from evals.spec import ModelSpec
from sweep.errors import ModelError

pytestmark = pytest.mark.slow
MEBIBYTE = 2**20
SECONDS = 10.0
"""What may pass between the death of one process and the end of the trial."""


@pytest.fixture(scope="module")
def model(tiny_model) -> ModelSpec:
    return ModelSpec(model_name_or_path=str(tiny_model), dtype="float32")


@pytest.fixture(scope="module")
def prepared(model, tmp_path_factory):
    return prepare_sums(model, tmp_path_factory.mktemp("data"))


def test_a_killed_process_ends_its_trial_at_once(model, prepared, tmp_path) -> None:
    killed = []

    def kill_second(progress) -> None:
        if progress.phase == "train" and progress.step == 1 and not killed:
            members()[1].kill()
            killed.append(time.monotonic())

    record = run(describe(model, "lora", 2), prepared, tmp_path / "trial", on_progress=kill_second)

    assert time.monotonic() - killed[0] < SECONDS
    assert (record.state, record.failure.kind) == ("FAIL", "worker_died")
    assert record.failure.message == (
        "Process 2 of 2 was killed (SIGKILL), most likely because the machine ran out of memory."
    )
    assert members() == []
    assert not (tmp_path / "trial" / "checkpoint").exists()


def test_all_processes_stop_at_the_rung_at_which_a_trial_is_pruned(model, prepared, tmp_path) -> None:
    pruned = run(describe(model, "lora", 2), prepared, tmp_path / "trial", on_rung=lambda rung, _: rung == 1)

    assert (pruned.state, pruned.failure) == ("PRUNED", None)
    assert pruned.training.optimizer_steps == 2
    assert [step["step"] for step in read_steps(tmp_path / "trial")] == [1, 2, 2]
    assert members() == []
    assert not (tmp_path / "trial" / "checkpoint").exists()


def test_running_out_of_memory_in_one_process_is_running_out_of_memory(model, tmp_path) -> None:
    prepared = prepare_sums(model, tmp_path, repeat=300)
    limited = []

    def limit_second(progress) -> None:
        if progress.phase == "train" and not limited:
            second = members()[1]
            most = second.memory_info().vms + 8 * MEBIBYTE
            second.rlimit(psutil.RLIMIT_AS, (most, most))
            limited.append(second)

    record = run(describe(model, "lora", 2), prepared, tmp_path / "trial", on_progress=limit_second)

    assert (record.state, record.failure.kind) == ("FAIL", "out_of_memory")
    assert record.failure.message.startswith("Process 2 of 2: ")
    assert members() == []


def test_a_fault_of_one_process_is_the_trials(model, prepared, tmp_path) -> None:
    """A rate so high that the loss is no number: every process sees that, and one of them says so first."""
    record = run(describe(model, "full", 2, learning_rate=1e9, max_grad_norm=0.0), prepared, tmp_path / "trial")

    assert (record.state, record.failure.kind) == ("FAIL", "diverged")
    assert record.failure.message.startswith("Process ")
    assert members() == []


def test_what_the_user_has_to_mend_is_said_as_if_one_process_had_found_it(model, prepared, tmp_path) -> None:
    lost = model.model_copy(update={"model_name_or_path": str(tmp_path / "nowhere")})

    with pytest.raises(ModelError, match="nowhere"):
        run(describe(lost, "lora", 2), prepared, tmp_path / "trial")
    assert members() == []
