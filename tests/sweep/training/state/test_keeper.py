"""Whose a saved training state is, when it is saved, and what is thrown away."""

import time
from pathlib import Path

import pytest
import torch
from interrupting import keeper
from toy_runner import toy_study, trained

from sweep.config import configure
from sweep.training.outcome import TrainingOutcome
from sweep.training.state import keeper as keepers
from sweep.training.state.file import StateUnusableError, TrainingState
from sweep.training.state.keeper import account_of, identity_of, step_of, steps_of

PARTS = {"weights": TrainingState({"w": torch.ones(3)}, {})}
FILE = "training-state.safetensors"


def test_what_was_saved_is_found_with_its_step_its_log_and_what_the_trial_had_taken(tmp_path: Path) -> None:
    keeper(tmp_path, account=lambda: {"seconds_total": 4.5}).save(PARTS, step=7, steps=b'{"step": 7}\n')

    here = keeper(tmp_path)
    found = here.load()

    assert found is not None
    assert (step_of(found), steps_of(found), account_of(found)) == (7, b'{"step": 7}\n', {"seconds_total": 4.5})
    # It is as large as all that is trained: who has taken it is the only one who holds it.
    assert here.take() is found
    assert here.take() is None


def test_where_nothing_was_saved_nothing_is_found_and_nothing_said(tmp_path: Path) -> None:
    said: list[str] = []

    assert keeper(tmp_path, tell=said.append).load() is None
    assert said == []


def test_a_state_of_other_work_is_thrown_away_and_it_is_said_why(tmp_path: Path) -> None:
    said: list[str] = []
    keeper(tmp_path, identity={"config": "a", "data": {"train": "x"}, "way": "alone"}).save(PARTS, step=1, steps=b"")

    other = keeper(tmp_path, identity={"config": "a", "data": {"train": "y"}, "way": "in a lane"}, tell=said.append)

    assert other.load() is None
    assert len(said) == 1
    assert "starts from scratch: it is of other work (another data, another way)." in said[0]
    assert not (tmp_path / FILE).exists()


def test_a_damaged_state_is_thrown_away_and_it_is_said(tmp_path: Path) -> None:
    said: list[str] = []
    keeper(tmp_path).save(PARTS, step=1, steps=b"")
    content = (tmp_path / FILE).read_bytes()
    (tmp_path / FILE).write_bytes(content[:-1])

    assert keeper(tmp_path, tell=said.append).load() is None
    assert "damaged" in said[0]
    assert not (tmp_path / FILE).exists()


def test_everything_that_decides_a_training_is_part_of_whose_a_state_is(tmp_path: Path, monkeypatch) -> None:
    spec = toy_study()

    def identity(*, seed=0, rows="x", way="alone", **training) -> dict:
        config = configure(spec, "lora", {}, phase="search", number=0, seed=seed, data_root=tmp_path)
        settings = config.method_spec.training.model_copy(update=training)
        return identity_of(config, settings, data_sha256={"train": rows}, device=torch.device("cpu"), way=way)

    same = identity()
    assert same == identity()
    # A smaller micro-batch, with which a trial is run again where memory ran out, is another training.
    for change in ({"seed": 1}, {"rows": "y"}, {"way": "in a lane"}, {"per_device_train_batch_size": 1}):
        assert identity(**change) != same
    monkeypatch.setattr(keepers.metadata, "version", lambda _: "0.0")
    assert identity() != same


def test_saves_keep_their_distance_and_take_a_small_part_of_the_time(tmp_path: Path, monkeypatch) -> None:
    slow = keepers.write_state
    monkeypatch.setattr(keepers, "write_state", lambda *given: (time.sleep(0.05), slow(*given)))
    always, seldom, costly = keeper(tmp_path), keeper(tmp_path, seconds=1e6), keeper(tmp_path, share=20)

    for one in (always, seldom, costly):
        one.save(PARTS, step=1, steps=b"")

    assert (always.is_due, seldom.is_due, costly.is_due) == (True, False, False)
    assert costly._due - time.monotonic() > 0.8


def test_a_state_that_cannot_be_saved_costs_no_more_than_a_sentence(tmp_path: Path) -> None:
    said: list[str] = []
    (tmp_path / "file").write_text("not a directory")

    keeper(tmp_path / "file", tell=said.append).save(PARTS, step=1, steps=b"")

    assert len(said) == 1
    assert "could not be saved" in said[0]


@pytest.fixture
def scored_next(tmp_path: Path) -> TrainingOutcome:
    """A trial that has been trained and saved."""
    (tmp_path / "checkpoint").mkdir()
    (tmp_path / "checkpoint" / "adapter.bin").write_bytes(b"weights")
    (tmp_path / "steps.jsonl").write_bytes(b"{}\n")
    outcome = TrainingOutcome(trained(), pruned=False, intermediate={1: 2.5, 2: 1.5}, seconds={"train": 3.0})
    keeper(tmp_path, identity={"way": "in a lane"}).finish(outcome, tmp_path / "checkpoint", tmp_path / "steps.jsonl")
    return outcome


def test_what_had_been_trained_is_found_again_whichever_way_it_was_trained(
    tmp_path: Path, scored_next: TrainingOutcome
) -> None:
    (tmp_path / "steps.jsonl").unlink()
    here = keeper(tmp_path, identity={"way": "alone"})

    state = here.load()

    assert state is not None
    assert here.trained(state, tmp_path / "checkpoint", tmp_path / "steps.jsonl") == scored_next
    assert (tmp_path / "steps.jsonl").read_bytes() == b"{}\n"


@pytest.mark.usefixtures("scored_next")
@pytest.mark.parametrize("content", [None, b"weight5"])
def test_what_had_been_trained_and_is_not_there_any_more_is_not_believed(tmp_path: Path, content: bytes | None) -> None:
    adapter = tmp_path / "checkpoint" / "adapter.bin"
    adapter.unlink() if content is None else adapter.write_bytes(content)
    here = keeper(tmp_path)
    state = keeper(tmp_path, identity={}).load()

    assert state is not None
    with pytest.raises(StateUnusableError, match="not what was saved"):
        here.trained(state, tmp_path / "checkpoint", tmp_path / "steps.jsonl")
