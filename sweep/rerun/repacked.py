"""How far rounding alone carries through a training: the same trial with its rows packed into other micro-batches.

As many rows make up an optimizer step, in the same order, and every loss is divided by the step's learned tokens, so
that in exact arithmetic nothing changes; what does change is what rounding makes of it. A trial that was trained beside
others, or on other hardware, is rounded otherwise too. Where there is dropout, it falls on other places as well.
"""

from dataclasses import dataclass
from pathlib import Path

from evals.items import read_items
from sweep.config import TrialConfig
from sweep.record import TrialRecord
from sweep.rerun.comparison import Comparison, Row
from sweep.rerun.scores import Scored
from sweep.spec import TrainingSpec
from sweep.store import TrialDirectory


@dataclass(frozen=True, slots=True)
class Repacked:
    """The second training, and what came of it."""

    directory: TrialDirectory
    record: TrialRecord

    @property
    def scored(self) -> Scored | None:
        """Its scores, where it has any."""
        found = self.record.evaluation
        return None if found is None else Scored(found, read_items(self.directory.eval))

    @property
    def steps(self) -> Path | None:
        """Its losses, where it came as far as was asked."""
        return self.directory.steps if self.record.failure is None else None

    @property
    def row(self) -> Row:
        """What was done, for the table; it decides nothing."""
        method = self.record.config.method_spec
        rows = "" if method is None else f"{method.training.micro_batch_size} rows a pass"
        if self.record.failure is not None:
            why = f"{self.record.state}, so rounding stays unknown: {self.record.failure.message}"
        else:
            why = "its rows packed otherwise, to see how far rounding carries"
        return Row("training", "trained once more", "", rows, "not compared", why)


def repacked(config: TrialConfig) -> TrialConfig | None:
    """The same trial in other micro-batches; None where nothing is trained or a step cannot be divided otherwise."""
    method = config.method_spec
    if method is None:
        return None
    size = _other_size(method.training)
    if size is None:
        return None
    training = method.training.model_copy(update={"per_device_train_batch_size": size})
    return config.model_copy(update={"method_spec": method.model_copy(update={"training": training})})


def _other_size(training: TrainingSpec) -> int | None:
    """Rows a pass: the next fewer that divide a step, which need less memory; where there are none, the next more."""
    now, step = training.micro_batch_size, training.effective_batch_size // training.num_processes
    divisors = [size for size in range(1, step + 1) if step % size == 0 and size != now]
    fewer = [size for size in divisors if size < now]
    return fewer[-1] if fewer else next(iter(divisors), None)


def may_be_rounding(comparison: Comparison, recorded: TrialRecord, now: TrialRecord) -> bool:
    """Whether rounding may be why two trainings differ: the same work, data and start, and other weights at the end."""
    before, after = recorded.training, now.training
    if comparison.agreement != "differs" or before is None or after is None or recorded.state != now.state:
        return False
    given = all(row.agreement == "same" for row in comparison.rows if row.part in {"config", "data"})
    same_start = before.initial_sha256 == after.initial_sha256 and before.optimizer_steps == after.optimizer_steps
    return given and same_start and before.final_sha256 != after.final_sha256
