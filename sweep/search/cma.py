"""CMA-ES whose state is read back as numbers only.

Optuna keeps the state of CMA-ES as a pickle in the study's storage and reads it with `pickle.loads`. Whoever can write
to a database, or hand somebody a run directory, could run code with it. Here such a state is made of CMA-ES objects and
numpy arrays, or it is refused.
"""

import io
import pickle
from typing import TYPE_CHECKING, Any

from optuna.samplers import CmaEsSampler
from optuna.trial import FrozenTrial

from sweep.errors import RunDirectoryError

if TYPE_CHECKING:
    from cmaes import CMA

ALLOWED = frozenset(
    {
        ("cmaes._cma", "CMA"),
        ("numpy", "dtype"),
        ("numpy", "ndarray"),
        *((f"numpy.{core}.multiarray", name) for core in ("_core", "core") for name in ("scalar", "_reconstruct")),
    }
)
"""What a state is made of, by module and name; numpy 1 called its core otherwise."""


class GuardedCmaEs(CmaEsSampler):
    """Optuna's CMA-ES, but for how its state is read."""

    def _restore_optimizer(self, completed_trials: list[FrozenTrial]) -> "CMA | None":
        for trial in reversed(completed_trials):
            prefix = self._attr_key_optimizer
            parts = {key: part for key, part in trial.system_attrs.items() if key.startswith(prefix)}
            if parts:
                return read_state(self._concat_optimizer_attrs(parts), trial.number)
        return None


def read_state(state: str, number: int) -> "CMA":
    """An optimizer from its pickle in hexadecimal digits. Raises RunDirectoryError for anything else."""
    try:
        found = _Reader(io.BytesIO(bytes.fromhex(state))).load()
    # A pickle is a program: it fails in as many ways as one.
    except Exception as error:
        raise RunDirectoryError(
            f"storage: what trial {number} holds of CMA-ES is not what CMA-ES wrote ({error}). Choose another sampler, "
            "or begin a new run."
        ) from error
    state_read: CMA = found
    return state_read


class _Reader(pickle.Unpickler):
    def find_class(self, module_name: str, global_name: str, /) -> Any:  # noqa: ANN401 - as its base class
        if (module_name, global_name) not in ALLOWED:
            raise pickle.UnpicklingError(f"{module_name}.{global_name} is no part of it")
        return super().find_class(module_name, global_name)
