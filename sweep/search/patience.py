"""Optuna's storage behind a server that may go away: every call waits until it is back, for a while, and is made again.

Each of Optuna's calls is one transaction. One that broke off has either been committed, though its answer was lost, or
not at all; those that would mean something else the second time look which it was. There is one driver to a study, so
nobody else has written meanwhile. Optuna's heartbeats are left out: they belong to its own loop, not to ask and tell.
"""

import time
from collections.abc import Callable, Container, Sequence
from functools import partial
from typing import Any, NoReturn, ParamSpec, TypeVar

from optuna.distributions import BaseDistribution
from optuna.exceptions import StorageInternalError
from optuna.storages import BaseStorage, RDBStorage
from optuna.study import StudyDirection
from optuna.study._frozen import FrozenStudy
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import event
from sqlalchemy.engine import ExceptionContext
from typing_extensions import override

from sweep.addresses import masked
from sweep.database import connect_arguments, reason
from sweep.errors import StorageLostError

PATIENCE_SECONDS = 600.0
"""How long a server may stay away: longer than a restart, an update or a fail-over takes."""
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.25, 10.0
GOING_AWAY = frozenset({"57P01", "57P02", "57P03", "25006", 1053, 1290})
"""What servers say on a connection that is up while they shut down, start, or have become a replica."""
BEHIND = (KeyError, StorageInternalError)
"""What Optuna raises where a study, a trial or a table is gone that was there before."""

P = ParamSpec("P")
T = TypeVar("T")
Say = Callable[[str], None]


class ConnectionLostError(Exception):
    """The server did not answer; its cause is the driver's own error."""


class PatientStorage(BaseStorage):
    """An Optuna storage on a database server."""

    def __init__(self, address: str, *, say: Say, patience_seconds: float = PATIENCE_SECONDS) -> None:
        """`address` names its driver. Raises what SQLAlchemy and Optuna raise where it cannot be opened now."""
        self._address = address
        self._say = say
        self._patience_seconds = patience_seconds
        backend = RDBStorage(
            # Optuna formats the address; in ours, braces are part of a password.
            address.replace("{", "{{").replace("}", "}}"),
            # One driver makes one call at a time; a connection that has died between two is replaced unnoticed.
            engine_kwargs={"pool_pre_ping": True, "pool_size": 1, "connect_args": connect_arguments(address)},
        )
        self.engine = backend.engine
        event.listen(self.engine, "handle_error", _tell_apart)
        # Not Optuna's cache: what was lost would still be there.
        self._inner: BaseStorage = backend

    def _patiently(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Make a call that may be made twice, once the server is there."""
        whole = partial(call, *args, **kwargs)
        return self._settle(whole, again=whole)

    def _settle(self, call: Callable[[], T], *, again: Callable[[], T]) -> T:
        """Make a call, `again` where the server did not answer it. Raises StorageLostError where it never does."""
        try:
            return call()
        except ConnectionLostError as error:
            lost = error
        except BEHIND as error:
            raise self._fell_behind(error) from error
        began, pause, is_announced = time.monotonic(), FIRST_PAUSE_SECONDS, False
        while True:
            try:
                answer = again()
            except ConnectionLostError as error:
                lost = error
            except BEHIND as error:
                raise self._fell_behind(error) from error
            else:
                if is_announced:
                    self._say(f"{self._name} is back after {time.monotonic() - began:.0f} s.")
                return answer
            left = began + self._patience_seconds - time.monotonic()
            if left <= 0:
                self._give_up(lost)
            if not is_announced:
                self._say(f"{self._name} is away ({self._reason(lost)}); waiting for it, up to {self._patience}.")
                is_announced = True
            time.sleep(min(pause, left))
            pause = min(2 * pause, LONGEST_PAUSE_SECONDS)

    def _give_up(self, lost: ConnectionLostError) -> NoReturn:
        raise StorageLostError(
            f"{self._name} stayed away for {self._patience} ({self._reason(lost)}). All trials that ended are saved; "
            "once it is back, the same `sweep run` goes on."
        ) from lost

    def _fell_behind(self, error: Exception) -> StorageLostError:
        return StorageLostError(
            f"{self._name} has lost what it knew ({self._reason(error)}). All trials that ended are saved; "
            "the same `sweep run` tells it again and goes on."
        )

    @property
    def _name(self) -> str:
        return f"storage: {masked(self._address)}"

    @property
    def _patience(self) -> str:
        seconds = self._patience_seconds
        return f"{seconds / 60:.0f} minutes" if seconds >= 120 else f"{seconds:.0f} s"  # noqa: PLR2004

    def _reason(self, error: BaseException) -> str:
        return reason(error.__cause__ or error, self._address)

    @override
    def create_new_trial(self, study_id: int, template_trial: FrozenTrial | None = None) -> int:
        number = self.get_n_trials(study_id) if template_trial is None else template_trial.number
        create = partial(self._inner.create_new_trial, study_id, template_trial)

        def create_unless_created() -> int:
            try:
                return self._inner.get_trial_id_from_study_id_trial_number(study_id, number)
            except KeyError:
                return create()

        return self._settle(create, again=create_unless_created)

    @override
    def set_trial_state_values(self, trial_id: int, state: TrialState, values: Sequence[float] | None = None) -> bool:
        put = partial(self._inner.set_trial_state_values, trial_id, state, values)
        return self._settle(put, again=lambda: self._inner.get_trial(trial_id).state == state or put())

    @override
    def create_new_study(self, directions: Sequence[StudyDirection], study_name: str | None = None) -> int:
        # Created twice it is a duplicate, which those who call expect: they load the one that is there.
        return self._patiently(self._inner.create_new_study, directions, study_name)

    @override
    def delete_study(self, study_id: int) -> None:
        self._patiently(self._inner.delete_study, study_id)

    @override
    def set_study_user_attr(self, study_id: int, key: str, value: Any) -> None:
        self._patiently(self._inner.set_study_user_attr, study_id, key, value)

    @override
    def set_study_system_attr(self, study_id: int, key: str, value: Any) -> None:
        self._patiently(self._inner.set_study_system_attr, study_id, key, value)

    @override
    def get_study_id_from_name(self, study_name: str) -> int:
        return self._patiently(self._inner.get_study_id_from_name, study_name)

    @override
    def get_study_name_from_id(self, study_id: int) -> str:
        return self._patiently(self._inner.get_study_name_from_id, study_id)

    @override
    def get_study_directions(self, study_id: int) -> list[StudyDirection]:
        return self._patiently(self._inner.get_study_directions, study_id)

    @override
    def get_study_user_attrs(self, study_id: int) -> dict[str, Any]:
        return self._patiently(self._inner.get_study_user_attrs, study_id)

    @override
    def get_study_system_attrs(self, study_id: int) -> dict[str, Any]:
        return self._patiently(self._inner.get_study_system_attrs, study_id)

    @override
    def get_all_studies(self) -> list[FrozenStudy]:
        return self._patiently(self._inner.get_all_studies)

    @override
    def set_trial_param(
        self, trial_id: int, param_name: str, param_value_internal: float, distribution: BaseDistribution
    ) -> None:
        self._patiently(self._inner.set_trial_param, trial_id, param_name, param_value_internal, distribution)

    @override
    def get_trial_id_from_study_id_trial_number(self, study_id: int, trial_number: int) -> int:
        return self._patiently(self._inner.get_trial_id_from_study_id_trial_number, study_id, trial_number)

    @override
    def set_trial_intermediate_value(self, trial_id: int, step: int, intermediate_value: float) -> None:
        self._patiently(self._inner.set_trial_intermediate_value, trial_id, step, intermediate_value)

    @override
    def set_trial_user_attr(self, trial_id: int, key: str, value: Any) -> None:
        self._patiently(self._inner.set_trial_user_attr, trial_id, key, value)

    @override
    def set_trial_system_attr(self, trial_id: int, key: str, value: Any) -> None:
        self._patiently(self._inner.set_trial_system_attr, trial_id, key, value)

    @override
    def get_trial(self, trial_id: int) -> FrozenTrial:
        return self._patiently(self._inner.get_trial, trial_id)

    @override
    def get_all_trials(
        self, study_id: int, deepcopy: bool = True, states: Container[TrialState] | None = None
    ) -> list[FrozenTrial]:
        return self._patiently(self._inner.get_all_trials, study_id, deepcopy, states)

    @override
    def get_best_trial(self, study_id: int) -> FrozenTrial:
        return self._patiently(self._inner.get_best_trial, study_id)

    @override
    def remove_session(self) -> None:
        self._inner.remove_session()


def _tell_apart(context: ExceptionContext) -> None:
    """Give a connection that broke off, or could not be made, an error of its own, which Optuna lets through.

    Optuna wraps SQLAlchemy's errors in one for all, and makes some calls again itself, without looking.
    """
    error = context.original_exception
    if context.is_pre_ping or not isinstance(error, Exception):
        # The one finds out whether an idle connection is alive, and makes another; else it is Ctrl-C.
        return
    code = getattr(error, "sqlstate", None) or next(iter(error.args), None)
    if code in GOING_AWAY:
        context.is_disconnect = True
    if context.is_disconnect or context.connection is None:
        raise ConnectionLostError from error
