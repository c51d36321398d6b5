"""Where a study's results are logged, and how they are judged and shown."""

from collections.abc import Mapping
from typing import Annotated

from pydantic import Field

from evals.spec import Spec
from sweep.addresses import Address


class TrackingSpec(Spec):
    """Where results are logged."""

    mlflow: bool = True
    """Log to MLflow."""
    tracking_uri: Address | None = Field(None, repr=False)
    """An MLflow server or database, `${NAME}` in it as for `storage`; without it, `mlflow.db` beside the runs."""


class WithinSpec(Spec):
    """Limits that a recommended method has to keep; one that is left out does not bind."""

    memory_gb: float | None = Field(None, gt=0)
    """Peak memory of training, in decimal gigabytes."""
    train_hours: float | None = Field(None, gt=0)
    """Training time of one run, in hours."""
    cost: float | None = Field(None, gt=0)
    """Cost of one run's training, in the report's currency; needs `price_per_hour`."""
    adapter_mb: float | None = Field(None, gt=0)
    """Size of what is saved, in decimal megabytes."""


class ReportSpec(Spec):
    """How results are judged and shown. Only the margins bear on verdicts, and they stand fixed once a study began."""

    margin: float = Field(0.01, gt=0)
    """Largest difference of two proportions that counts as none: within it, two methods are equivalent."""
    margins: Mapping[str, Annotated[float, Field(gt=0)]] = {}
    """Margins by `task/metric`, put over `margin`; a metric that is no proportion, such as a loss, has none else."""
    price_per_hour: float | None = Field(None, ge=0)
    """Price of an hour of the device, in `currency`."""
    currency: str = Field("USD", pattern=r"^\S{1,8}$")
    """Currency of the price."""
    within: WithinSpec = WithinSpec()
    """Limits under which the report recommends a method."""
