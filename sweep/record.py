"""What happened: one frozen record for each trial, and the only thing that reports, resuming and MLflow read."""

from collections.abc import Mapping
from datetime import datetime
from typing import Literal

from pydantic import Field

from evals.result import EvalResult
from evals.spec import Spec
from sweep.config import TrialConfig
from sweep.easing import Easing, eased
from sweep.spec import MethodSpec

State = Literal["COMPLETE", "PRUNED", "FAIL"]
FailureKind = Literal[
    "out_of_memory", "diverged", "deadline", "interrupted", "infeasible", "worker_died", "disk", "error"
]


class Failure(Spec):
    """Why a trial did not complete."""

    kind: FailureKind
    """What it ended as."""
    message: str
    """One line for a person."""
    traceback: str | None = None
    """Where it happened, for a bug."""
    foreseen: bool = False
    """Known beforehand: the trial was never run."""


class Memory(Spec):
    """Peak memory of a trial, in bytes; of all trials together where several shared the device."""

    host_bytes: int
    """Peak resident memory of the worker process, or of all processes together that trained a trial for it."""
    device_bytes: int | None
    """Peak memory allocated on the GPU, the largest of several; none on a CPU."""


class MatrixProduct(Spec):
    """How fast a device multiplied matrices in the process that ran the trial."""

    flops_per_second: float = Field(gt=0)
    """Floating-point operations a second, the median of a few products."""
    side: int = Field(gt=0)
    """Rows and columns of the square matrices."""
    dtype: str
    """What they were in: the dtype that training computes in."""


class DeviceUse(Spec):
    """The device that a trial ran on, and the energy it took."""

    kind: Literal["cuda", "cpu"]
    """GPU or CPU."""
    name: str
    """What the device is called."""
    count: int = Field(1, ge=1)
    """Devices that the trial held for as long as it took."""
    energy_joules: float | None = Field(None, ge=0)
    """Energy that the device took meanwhile, whatever else ran on it; none where the machine does not tell."""
    energy_source: Literal["nvml", "rapl"] | None = None
    """Where that was read: NVIDIA's driver for the GPU, or Intel's and AMD's counters for the CPU packages."""
    matrix_product: MatrixProduct | None = None
    """What it reached at its best; none where nothing was trained, and in records of older versions."""


class Sharing(Spec):
    """How a trial shared its device with others that were trained and scored at the same time.

    Its seconds are then its part of the device's, so that those of all trials add up to what the device was held for.
    """

    lanes: float = Field(ge=1)
    """Trials that were trained at the same time, itself included: the mean over its steps."""
    elapsed_seconds: float = Field(ge=0)
    """Wall time from its start to its end."""


class TrainingResult(Spec):
    """What training gave. Step-by-step values are in `steps.jsonl` beside the record."""

    optimizer_steps: int
    """Optimizer steps taken."""
    train_loss: float | None
    """Mean loss over all steps, per token."""
    validation_loss: float | None
    """Last loss on the validation split, per token."""
    tokens: int
    """Tokens processed, padding not counted."""
    tokens_per_second: float
    """Those tokens over the seconds of the training loop without its validations."""
    positions: int | None = None
    """Tokens processed, padding counted; none in records of older versions."""
    trainable_parameters: int
    """Parameters that were trained."""
    total_parameters: int
    """Parameters of the model with its adapter, 4-bit weights counted unpacked."""
    checkpoint_bytes: int
    """Size of the saved adapter or model."""
    initial_sha256: str
    """Hash of the trainable weights before the first step."""
    final_sha256: str
    """Hash of the trainable weights after the last step."""
    optim: str
    """The optimizer as it was resolved on this machine."""
    nondeterminism: str | None = None
    """Why the same config and seed need not give the same weights again on this machine, bit by bit; none where they
    do, and in records of older versions."""

    @property
    def trainable_share(self) -> float:
        """Trained parameters over all."""
        return self.trainable_parameters / self.total_parameters

    @property
    def estimated_flops(self) -> float:
        """Floating-point operations of training, estimated: for each token 4 a parameter, and 2 more a trained one.

        Forward and backward pass take 2 each a parameter, a weight's gradient 2 more (arXiv 2001.08361, which counts
        6 where all are trained). Attention scores, recomputed activations and validations are left out.
        """
        return float(self.tokens) * self._flops_per_token

    @property
    def computed_flops(self) -> float | None:
        """The same with padding, which costs as much as any token; none where it was not counted."""
        return None if self.positions is None else float(self.positions) * self._flops_per_token

    @property
    def _flops_per_token(self) -> float:
        return 4.0 * self.total_parameters + 2.0 * self.trainable_parameters


class TrialRecord(Spec):
    """One trial: its config and what came of it."""

    config: TrialConfig
    """What was run."""
    config_fingerprint: str
    """Identity of the config."""
    state: State
    """COMPLETE, PRUNED or FAIL, as Optuna has them."""
    failure: Failure | None = None
    """Set where the state is FAIL."""
    objective: float | None = None
    """Value of the study's objective."""
    reused_from: int | None = None
    """Number of the trial that ran this config before; nothing was run again."""
    training: TrainingResult | None = None
    """What training gave; none for the base model."""
    evaluation: EvalResult | None = None
    """Scores."""
    intermediate: Mapping[int, float] = {}
    """Validation loss by rung."""
    seconds: Mapping[str, float] = {}
    """Wall time by part: load, data, train, validate, wait (for the driver), save, score."""
    memory: Memory | None = None
    """Peak memory."""
    tokens: int | None = None
    """Tokens trained on, however the trial ended; none in records of older versions."""
    device: DeviceUse | None = None
    """What it ran on; none where its worker died."""
    sharing: Sharing | None = None
    """How it shared the device; none where it had it to itself."""
    easing: Easing | None = None
    """With what less than its config asks for it was trained, because memory ran out; none where it was as asked."""
    data_sha256: Mapping[str, str] = {}
    """Fingerprint of the rows of each split."""
    environment: Mapping[str, str] = {}
    """Versions and hardware that the trial ran on."""
    started_at: datetime
    """When the trial began, UTC."""
    seconds_total: float = Field(0.0, ge=0)
    """Wall time of the whole trial; where it shared the device, its part of that. Time between an interruption and
    going on is not the trial's, nor is what was trained after the last saved state and had to be trained again."""
    resumed: int = Field(0, ge=0)
    """Times that the trial was interrupted and went on from its saved training state."""

    @property
    def trained_method(self) -> MethodSpec | None:
        """The method as it was trained: with less than its config asks, where memory ran out."""
        method = self.config.method_spec
        return None if method is None else eased(method, self.easing)

    @property
    def elapsed_seconds(self) -> float:
        """Wall time from start to end, whoever had the device meanwhile."""
        return self.seconds_total if self.sharing is None else self.sharing.elapsed_seconds

    @property
    def overhead_seconds(self) -> float:
        """Wall time that no part accounts for."""
        return max(0.0, self.seconds_total - sum(self.seconds.values()))

    @property
    def roofline_share(self) -> float | None:
        """Useful operations of training a second, as a share of what a matrix product reached on the device.

        None where either was not measured.
        """
        seconds = self.seconds.get("train", 0.0)
        product = None if self.device is None else self.device.matrix_product
        if self.training is None or product is None or seconds <= 0:
            return None
        return self.training.estimated_flops / seconds / product.flops_per_second

    @property
    def was_run(self) -> bool:
        """Whether the trial was run, and so has cost a part of the budget."""
        return self.reused_from is None and not (self.failure is not None and self.failure.foreseen)
