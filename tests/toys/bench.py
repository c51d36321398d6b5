"""A method's search without workers: an outcome follows each proposal at once."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import optuna
from toy_runner import loss_of, record

from sweep.config import TrialConfig
from sweep.record import TrialRecord
from sweep.search.method_search import MethodSearch, Proposal
from sweep.search.mirror import open_storage
from sweep.spec import StudySpec
from sweep.store import RunDirectory, write_config, write_record
from sweep.study.sources import settled, with_objective

Outcome = Callable[[Proposal], TrialRecord]


@dataclasses.dataclass
class Bench:
    """A method's search without workers: an outcome follows each proposal at once."""

    spec: StudySpec
    run: RunDirectory
    method: str = "lora"
    url: str = ""
    refuse: Callable[[TrialConfig], str | None] = lambda _: None

    def open(self) -> MethodSearch:
        storage = open_storage(self.url or f"sqlite:///{self.run.optuna_db}")
        return MethodSearch(
            self.spec,
            self.method,
            run=self.run,
            storage=storage,
            data_root=Path("/data"),
            baseline=9.0,
            refuse=self.refuse,
        )

    def drive(self, search: MethodSearch, outcome: Outcome, *, trials: int = 1000) -> list[TrialRecord]:
        ended: list[TrialRecord] = []
        while len(ended) < trials and (proposal := search.ask()) is not None:
            write_config(self.run.directory_of(proposal.config), proposal.config)
            ended.append(self.end(search, settled(proposal) or outcome(proposal)))
        return ended

    def end(self, search: MethodSearch, ended: TrialRecord) -> TrialRecord:
        ended = with_objective(ended, self.spec.objective, is_required=True)
        write_record(self.run.directory_of(ended.config), ended)
        search.tell(ended)
        return ended

    def optuna(self) -> list[optuna.trial.FrozenTrial]:
        url = self.url or f"sqlite:///{self.run.optuna_db}"
        return optuna.load_study(study_name=f"toy/{self.method}", storage=url).get_trials()


def complete(proposal: Proposal) -> TrialRecord:
    return record(proposal.config, value=loss_of(proposal.config))
