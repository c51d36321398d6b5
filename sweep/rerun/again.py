"""Run one recorded trial again, from its config alone, and compare what comes of it with the record.

Neither Optuna nor the study's other trials are needed: a pruned trial is ended where it was ended. Rows are read and
divided anew from the user's files, so that data that have changed show before anything is spent.
"""

import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from evals.items import read_items
from sweep.config import TrialConfig, admit_code
from sweep.easing import Easing, described, eased
from sweep.errors import DataError, InputError
from sweep.files import write_json
from sweep.openings import note_test_opening
from sweep.progress import Progress
from sweep.record import TrialRecord
from sweep.rerun.comparison import Comparison, Row, equality
from sweep.rerun.parts import config_rows, data_rows, machine_rows, question_rows, training_rows
from sweep.rerun.recorded import Recorded, find_trial, next_directory
from sweep.rerun.repacked import Repacked, may_be_rounding, repacked
from sweep.rerun.scores import KnownNoise, Scored, compare_scores, rounding_noise
from sweep.store import RunDirectory, TrialDirectory, write_config, write_record

if TYPE_CHECKING:
    from sweep.data.prepared import PreparedData

COMPARISON = "comparison.json"
REPACKED = "repacked"


def rerun(  # noqa: PLR0913
    run: RunDirectory,
    trial: str,
    *,
    cache: Path,
    to: Path | None = None,
    data_root: Path | None = None,
    anyway: bool = False,
    repack: bool = True,
    trust_remote_code: bool = False,
    on_progress: Callable[[Progress], None] = lambda _: None,
) -> Comparison:
    """Run a trial again into `to`, by default `RUN_DIR/rerun/TRIAL-N`, and compare.

    `data_root` takes the place of the directory that data paths started from. Where what came out differs and rounding
    may be why, `repack` trains once more, its rows packed otherwise, to learn how far rounding carries.
    Raises InputError where there is no such trial, where its model brings code of its own, unless `trust_remote_code`,
    or where config or data are not those that were recorded, unless `anyway`.
    """
    run.refuse_ways_out()
    found = find_trial(run, trial)
    admit_code(found.config, found.directory.config, trusted=trust_remote_code)
    if found.edits and not anyway:
        raise InputError(
            f"{found.directory.config}: not what the record says was run; it differs in {', '.join(found.edits)}. "
            "Bring the old file back, or run it as it is with --anyway."
        )
    target = TrialDirectory((to or next_directory(run, found.slug)).resolve())
    if target.path.exists() and any(target.path.iterdir()):
        raise InputError(f"{target.path}: not empty. Name a directory that nothing is in yet.")
    config = _relocated(_without_deadline(found), data_root)
    prepared = _prepare(config, run, target.path / "data", cache)
    if not anyway:
        _refuse_other_data(found, prepared, target)
    write_config(target, config)
    note_test_opening(run, config, by="rerun")
    run_it = partial(_run, prepared=prepared, recorded=found.record, cache=cache, on_progress=on_progress)
    record = run_it(config, target, easing=found.record.easing)
    comparison = compare(run, found, target, record)
    # Kept even where the second training is interrupted.
    write_json(target.path / COMPARISON, comparison.plain())
    rounded = repack and may_be_rounding(comparison, found.record, record)
    other = repacked(_as_trained(config, found.record.easing)) if rounded else None
    if other is not None:
        aside = TrialDirectory(target.path / REPACKED)
        write_config(aside, other)
        note_test_opening(run, other, by="rerun")
        comparison = compare(run, found, target, record, Repacked(aside, run_it(other, aside)))
        write_json(target.path / COMPARISON, comparison.plain())
    return comparison


def compare(
    run: RunDirectory, found: Recorded, target: TrialDirectory, now: TrialRecord, aside: Repacked | None = None
) -> Comparison:
    """Set a record beside that of the same trial run again, and beside what packing its rows otherwise changes."""
    then = found.record
    scored = then.evaluation is not None
    rows: list[Row] = [
        *config_rows(then, now, found.edits),
        *data_rows(then.data_sha256, now.data_sha256),
        *question_rows(then, now),
        *machine_rows(then.environment, now.environment),
        *_easing_rows(then, now),
        equality("outcome", "state", _state(then), _state(now), decides=True, why=_message(now)),
        *training_rows(
            then,
            now,
            found.directory.steps,
            target.steps,
            aside=None if aside is None else aside.steps,
            decides=not scored,
        ),
        *([] if aside is None else [aside.row]),
    ]
    if then.evaluation is not None and now.evaluation is not None:
        recorded, again = (
            Scored(one, read_items(place))
            for one, place in ((then.evaluation, found.directory.eval), (now.evaluation, target.eval))
        )
        noise = known_noise(run, then, now)
        if aside is not None and aside.scored is not None:
            noise = replace(noise, rounding=rounding_noise(again, aside.scored))
        rows += compare_scores(recorded, again, noise)
    return Comparison(found.name, rows)


def known_noise(run: RunDirectory, record: TrialRecord, now: TrialRecord) -> KnownNoise:
    """What the study itself tells of the noise in a trial's scores, once the trial was run again.

    The record that is judged has no say in that: among the seeds, what was found now stands in its place.
    """
    config = record.config
    confirmed = config.phase == "confirm"
    base = (run.confirm_baseline if confirmed else run.baseline).read_record()
    floor = {} if base is None or base.evaluation is None else base.evaluation.noise
    if not confirmed or config.method is None:
        return KnownNoise(floor, {})
    others = [other for other in run.confirm_records(config.method) if other.config.number != config.number]
    return KnownNoise(floor, _spread([now, *others]))


def _spread(records: Sequence[TrialRecord]) -> dict[str, float]:
    scores: dict[str, list[float]] = {}
    for record in records:
        for name, metric in {} if record.evaluation is None else record.evaluation.metrics.items():
            scores.setdefault(name, []).append(metric.value)
    return {name: max(values) - min(values) for name, values in scores.items() if len(values) > 1}


def _run(  # noqa: PLR0913
    config: TrialConfig,
    target: TrialDirectory,
    *,
    prepared: "PreparedData",
    recorded: TrialRecord,
    cache: Path,
    on_progress: Callable[[Progress], None],
    easing: Easing | None = None,
) -> TrialRecord:
    from evals.models.load import default_device
    from sweep.trial import run_trial

    last = max(recorded.intermediate, default=0) if recorded.state == "PRUNED" else None
    record = run_trial(
        config,
        target,
        prepared,
        cache=cache,
        device=default_device(),
        on_rung=lambda rung, _: rung == last,
        on_progress=on_progress,
        easing=easing,
    )
    if record.failure is not None and record.failure.kind == "interrupted":
        raise KeyboardInterrupt
    record = record.model_copy(update={"easing": easing})
    write_record(target, record)
    return record


def _prepare(config: TrialConfig, run: RunDirectory, directory: Path, cache: Path) -> "PreparedData":
    from sweep.data.for_model import prepare_for

    # Configs of older versions do not tell the seed of the split, which was the study's.
    seed = run.read_study().seed if config.split_seed is None else config.split_seed
    return prepare_for(
        config.model,
        config.data,
        data_root=config.data_root,
        max_length=config.max_length,
        directory=directory,
        seed=seed,
        cache=cache,
        hub=config.scoring.data_root,
    )


def _refuse_other_data(found: Recorded, prepared: "PreparedData", target: TrialDirectory) -> None:
    then, now = found.record.data_sha256, prepared.sha256
    changed = [split for split in sorted({*then, *now}) if then.get(split) != now.get(split)]
    if then and changed:
        shutil.rmtree(target.path)
        raise DataError(
            f"{found.name}: the data are not those that it was run on: {', '.join(changed)}. Bring the old ones back, "
            "name where they are with --data-root, or run it on these with --anyway."
        )


def _as_trained(config: TrialConfig, easing: Easing | None) -> TrialConfig:
    method = config.method_spec
    return config if method is None else config.model_copy(update={"method_spec": eased(method, easing)})


def _easing_rows(then: TrialRecord, now: TrialRecord) -> list[Row]:
    """With what less than asked both were trained; nothing where both were trained as asked."""
    if then.easing is None and now.easing is None:
        return []
    texts = ["as asked" if one.easing is None else described(one.easing, one.config) for one in (then, now)]
    return [equality("training", "memory", *texts, why="because memory ran out")]


def _without_deadline(found: Recorded) -> TrialConfig:
    """Another machine may be slower; only a trial that ended at its deadline keeps it."""
    failure = found.record.failure
    if failure is not None and failure.kind == "deadline":
        return found.config
    return found.config.model_copy(update={"deadline_seconds": None})


def _relocated(config: TrialConfig, data_root: Path | None) -> TrialConfig:
    """The config with its data in another place, and with them whatever else lay beside them."""
    if data_root is None:
        return config
    if not data_root.is_dir():
        raise InputError(f"--data-root: {data_root} is no directory.")
    root, scoring = data_root.resolve(), config.scoring

    def moved(path: Path | None) -> Path | None:
        return root / path.relative_to(config.data_root) if path and path.is_relative_to(config.data_root) else path

    judge = scoring.judge and scoring.judge.model_copy(update={"against": moved(scoring.judge.against)})
    places = {"data_root": moved(scoring.data_root), "general_text": moved(scoring.general_text), "judge": judge}
    return config.model_copy(update={"data_root": root, "scoring": scoring.model_copy(update=places)})


def _state(record: TrialRecord) -> str:
    return record.state if record.failure is None else f"{record.state} ({record.failure.kind})"


def _message(record: TrialRecord) -> str:
    return "" if record.failure is None else record.failure.message
