"""The report's sections, in a reader's order: each turns records and numbers into blocks.

A section says what is missing where something is missing. Which method is better comes from verdicts alone.
"""

from collections.abc import Sequence

from reports import commands, wording
from reports.answer import answer_blocks, missing_notes, stands_apart
from reports.claims import claim_blocks
from reports.commands import source_cell
from reports.contrast import BASE_MODEL, CONSTANT_ANSWER
from reports.cost_section import beside_quality
from reports.document import Block, Cell, Column, Document, Figure, Link, Paragraph, Section, Table
from reports.efficiency import efficiency_blocks
from reports.examples import example_blocks
from reports.forgetting import forgetting_blocks
from reports.gather import Gathered
from reports.hyperparameters import hyperparameter_blocks
from reports.overfitting import overfitting_blocks
from reports.score_notes import errors_note, interval_note
from reports.settings import settings_table
from reports.statistics import Estimate
from reports.summary import MethodSummary, Summary
from reports.timeline import time_blocks
from reports.trials import easing_table, failure_table, trials_table
from reports.verdict import Judgement
from reports.verdict_sections import budget_blocks, verdict_blocks
from sweep.budget import describe
from sweep.openings import describe as openings_in_words
from sweep.openings import read_openings
from sweep.selection import division_notes

SHA_CHARACTERS = 16
SCORE_COLUMNS, COST_COLUMNS = 4, 5
FILES = ("report.json", "report.md", "tables/", "figures/", "cards/")
"""What else a report consists of, beside its page."""


def build_document(gathered: Gathered, summary: Summary, figures: Sequence[Figure], judgement: Judgement) -> Document:
    """The whole report as blocks."""
    spec = gathered.spec
    drawn = {figure.name: figure for figure in figures}
    contrasts = [verdict.contrast for verdict in judgement.all]
    learned = [*forgetting_blocks(gathered, judgement.all), *overfitting_blocks(gathered, drawn)]
    made = (
        Section("Methods side by side", "methods", _methods(gathered, summary, drawn, judgement)),
        Section("Verdicts", "verdicts", verdict_blocks(gathered, summary, judgement)),
        Section("At equal budget", "budget", budget_blocks(gathered, summary, drawn)),
        Section("What it costs", "costs", beside_quality(gathered, summary, drawn, contrasts)),
        Section("Forgetting and overfitting", "forgetting", learned if summary.metric is not None else []),
        Section("Best settings of each method", "settings", _settings(gathered)),
        Section("The search", "search", _search(gathered, drawn)),
        Section("What mattered in the search", "hyperparameters", hyperparameter_blocks(gathered, drawn)),
        Section("Where the time went", "time", _time(gathered, drawn)),
        Section("The field's claims on these data", "claims", claim_blocks(gathered, summary, contrasts)),
        Section("Example answers", "examples", example_blocks(gathered, summary)),
        Section("All trials", "trials", _trials(gathered)),
        Section("Running each row again", "commands", commands.blocks(gathered)),
        Section("Data and environment", "environment", _provenance(gathered)),
    )
    question = f"Which of {wording.listed(list(spec.methods))} suits these data best?"
    if len(spec.methods) == 1:
        question = f"What does {next(iter(spec.methods))} make of these data?"
    return Document(
        title=spec.name,
        subtitle=question,
        answer=[*missing_notes(gathered), *answer_blocks(gathered, summary, judgement)],
        sections=[section for section in made if section.blocks],
        files=[Link(name, f"report/{name}") for name in FILES],
    )


def _methods(gathered: Gathered, summary: Summary, figures: dict[str, Figure], judgement: Judgement) -> list[Block]:
    if summary.metric is None:
        return [Paragraph("Nothing has been scored yet.", "warning")]
    blocks: list[Block] = [methods_table(gathered, summary, judgement)]
    blocks += [figures[name] for name in ("scores",) if name in figures]
    if len(summary.metrics) > 1:
        blocks.append(_all_scores(gathered, summary))
    return blocks + [figures[name] for name in ("search_and_test",) if name in figures]


def methods_table(gathered: Gathered, summary: Summary, judgement: Judgement) -> Table:
    """The methods beside the base model and the best constant answer, the best first."""
    metric = summary.metric or ""
    unscored = [method for method in summary.methods if metric not in method.scores]
    ordered = [*summary.ranked, *unscored]
    device = "GPU" if summary.on_device else "host"
    columns = [
        Column("method"),
        Column(f"{metric}, {summary.split}", "number"),
        Column("95 % interval", "number"),
        Column("seeds, spread", "number"),
        Column("items", "number"),
        Column("training time", "number"),
        Column(f"peak memory ({device})", "number"),
        Column("trained share", "number"),
        Column("tokens/s", "number"),
        Column("saved size", "number"),
    ]
    rows: list[list[str | Cell]] = [
        [_named(method, gathered), *_score_cells(method.scores.get(metric)), *_cost_cells(method)] for method in ordered
    ]
    costless = [wording.NONE] * COST_COLUMNS
    base = gathered.confirm_baseline if summary.split == "test" else gathered.baseline
    rows.append([source_cell(BASE_MODEL, base, gathered), *_score_cells(summary.baseline.get(metric)), *costless])
    if metric in summary.constant:
        rows.append([CONSTANT_ANSWER, *_score_cells(summary.constant[metric]), *costless])
    caption = (
        "Score: mean over seeds ± standard error over items. Spread: standard deviation between seeds, which share "
        f"their items. {_interval_note(summary, metric)} Times, speeds and sizes are means over the same runs; memory "
        "is their largest. Bold: better than every other row by the verdicts below."
    )
    return Table(
        columns, rows, caption, stacks=True, emphasized=frozenset({0} if stands_apart(summary, judgement) else ())
    )


def _interval_note(summary: Summary, metric: str) -> str:
    everything = [*(method.scores for method in summary.methods), summary.baseline, summary.constant]
    return interval_note([scores[metric] for scores in everything if metric in scores])


def _named(method: MethodSummary, gathered: Gathered) -> Cell:
    """A method's name, leading to the first of the rows that its scores come from; the other seeds follow there."""
    return source_cell(method.name, next(iter(method.scored), None), gathered)


def _score_cells(found: Estimate | None) -> list[str]:
    if found is None:
        return [wording.NONE] * SCORE_COLUMNS
    spread = "" if found.seed_sd is None else f", ± {wording.score(found.seed_sd)}"
    return [wording.estimated(found), wording.interval(found.interval), f"{found.seeds}{spread}", f"{found.items:,}"]


def _cost_cells(method: MethodSummary) -> list[str]:
    return [
        wording.duration(method.train_seconds),
        wording.size(method.peak_memory_bytes),
        wording.percent(method.trainable_share),
        wording.number(method.tokens_per_second),
        wording.size(method.checkpoint_bytes),
    ]


def _all_scores(gathered: Gathered, summary: Summary) -> Table:
    """Every metric by method."""
    named = [(BASE_MODEL, summary.baseline), (CONSTANT_ANSWER, summary.constant)]
    named += [(method.name, method.scores) for method in summary.methods]
    shown = [(name, scores) for name, scores in named if scores]
    columns = [Column("metric", "code"), Column("items", "number"), *(Column(name, "number") for name, _ in shown)]
    rows = []
    for metric in summary.metrics:
        found = [scores.get(metric) for _, scores in shown]
        items = max((one.items for one in found if one is not None), default=0)
        rows.append([f"{metric} {_direction(found)}", f"{items:,}", *(wording.estimated(one) for one in found)])
    split = f"own rows: the {summary.split} split" if "own" in _tasks(gathered) else f"after the {summary.split} phase"
    note = errors_note([one for _, scores in shown for one in scores.values()])
    caption = f"Every score ± its standard error over items ({split}).{note} ↑ higher is better, ↓ lower is better."
    return Table(columns, rows, caption, name="scores")


def _direction(found: Sequence[Estimate | None]) -> str:
    higher = next((one.higher_is_better for one in found if one is not None), True)
    return "↑" if higher else "↓"


def _tasks(gathered: Gathered) -> set[str]:
    evaluation = gathered.spec.evaluation
    return {task.task for task in (*evaluation.search, *evaluation.confirm)}


def _settings(gathered: Gathered) -> list[Block]:
    if not any(method.best for method in gathered.methods):
        return [Paragraph("No method has a complete trial yet.", "warning")]
    return [settings_table(gathered)]


def _search(gathered: Gathered, figures: dict[str, Figure]) -> list[Block]:
    spec = gathered.spec
    text = (
        f"Each method had {describe(spec.budget)} with the {spec.sampler.name} "
        f"sampler and the {spec.pruner.name} pruner, to {spec.objective.direction} {spec.objective.metric} on the "
        f"validation split. Seed of the study: {spec.seed}."
    )
    shown = _shown(figures, "rate_and_rank", "history", "all_losses")
    return [Paragraph(text), *shown] if shown else []


def _time(gathered: Gathered, figures: dict[str, Figure]) -> list[Block]:
    return [*time_blocks(gathered), *efficiency_blocks(gathered), *_shown(figures, "time_by_part", "timeline")]


def _shown(figures: dict[str, Figure], *names: str) -> list[Figure]:
    return [figures[name] for name in names if name in figures]


def _trials(gathered: Gathered) -> list[Block]:
    searched = [record for method in gathered.methods for record in method.search]
    if not searched:
        return []
    return [trials_table(gathered), *failure_table(gathered), *easing_table(gathered)]


def _provenance(gathered: Gathered) -> list[Block]:
    blocks: list[Block] = [_data_table(gathered)] if gathered.data_sha256 else []
    blocks += [Paragraph(text, "note") for text in _data_notes(gathered)]
    openings = read_openings(gathered.run)
    # Runs of older versions kept no count; saying nothing is better than saying never.
    blocks += [Paragraph(openings_in_words(openings), "note")] if openings else []
    blocks += [Paragraph(note, "note") for note in division_notes(gathered.spec.evaluation)]
    if gathered.environment:
        rows = [[name, value] for name, value in sorted(gathered.environment.items())]
        columns = [Column("what"), Column("found", "code")]
        blocks.append(Table(columns, rows, "Versions and hardware that the study ran on."))
    return blocks


def _data_table(gathered: Gathered) -> Table:
    counts = {} if gathered.data is None else gathered.data.rows
    rows = [
        [split, f"{counts[split]:,}" if split in counts else wording.NONE, digest[:SHA_CHARACTERS]]
        for split, digest in sorted(gathered.data_sha256.items(), key=lambda pair: SPLIT_ORDER.get(pair[0], 9))
    ]
    columns = [Column("split"), Column("rows", "number"), Column("SHA-256 of the rows", "code")]
    return Table(
        columns, rows, f"Data: {gathered.spec.data.train}. Fingerprints are cut to {SHA_CHARACTERS} characters."
    )


SPLIT_ORDER = {"train": 0, "validation": 1, "test": 2}


def _data_notes(gathered: Gathered) -> list[str]:
    if gathered.data is None:
        return []
    dropped, leaks = gathered.data.dropped, gathered.data.leaks
    notes = [f"{wording.counted(dropped, 'row')} did not fit and were left out."] if dropped else []
    seen = [f"{count:,} of {split}" for split, count in sorted(leaks.items()) if count]
    return notes + ([f"Held-out rows that were seen before: {', '.join(seen)}."] if seen else [])
