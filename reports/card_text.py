"""What a model card says below its metadata, as blocks."""

from collections.abc import Sequence

from reports import commands, wording
from reports.answer import missing_notes
from reports.document import Block, Code, Column, Document, Paragraph, Section, Table
from reports.gather import Gathered
from reports.score_notes import errors_note
from reports.settings import flat_settings
from reports.summary import MethodSummary, Summary
from reports.verdict import Verdict

KINDS = {
    "lora": "a LoRA adapter",
    "qlora": "a LoRA adapter trained on a 4-bit base (QLoRA)",
    "full": "a fully fine-tuned model",
}


def build(gathered: Gathered, summary: Summary, method: MethodSummary, verdicts: Sequence[Verdict]) -> Document:
    """One method's card."""
    spec, kind = gathered.spec, method.records.spec.kind
    base = spec.model.model_name_or_path
    trials = wording.counted(method.records.spent, "trial")
    lead = (
        f"This is {KINDS.get(kind, kind)} of {base}, trained on {spec.data.train}. It is the method {method.name} of "
        f"the study {spec.name}, with the settings that did best in {trials} on the validation split. Scores are from "
        "the test split, which the search never saw."
    )
    return Document(
        title=f"{spec.name}: {method.name}",
        subtitle="Built from the records of the study by finetune-sweep.",
        answer=[Paragraph(lead)],
        sections=[
            section
            for section in (
                Section("Scores", "scores", [_scores(summary, method)]),
                Section("Compared with the others", "verdicts", _verdicts(method, verdicts)),
                Section("How it was trained", "training", [_settings(method)]),
                Section("Data", "data", _data(gathered)),
                Section("Limits", "limits", _limits(gathered, method)),
                Section("Making it again", "reproduce", _reproduce(gathered, method)),
            )
            if section.blocks
        ],
    )


def _scores(summary: Summary, method: MethodSummary) -> Table:
    columns = [
        Column("metric", "code"),
        Column("score", "number"),
        Column("95 % interval", "number"),
        Column("items", "number"),
        Column("seeds", "number"),
        Column("base model", "number"),
    ]
    rows = [
        [
            f"{metric} {'↑' if found.higher_is_better else '↓'}",
            wording.estimated(found),
            wording.interval(found.interval),
            f"{found.items:,}",
            str(found.seeds),
            wording.estimated(summary.baseline.get(metric)),
        ]
        for metric in summary.metrics
        if (found := method.scores.get(metric)) is not None
    ]
    caption = (
        "Score: mean over seeds ± standard error over items. Interval: noise of items and seeds together."
        f"{errors_note(list(method.scores.values()))} ↑ higher is better, ↓ lower is better."
    )
    return Table(columns, rows, caption)


def _verdicts(method: MethodSummary, verdicts: Sequence[Verdict]) -> list[Block]:
    own = [one for one in verdicts if one.is_headline and method.name in {one.contrast.one, one.contrast.other}]
    return [Paragraph(one.sentence) for one in own]


def _settings(method: MethodSummary) -> Table:
    config = method.scored[0].config
    searched = {name.rpartition(".")[2] for name in config.params}
    settings = {} if config.method_spec is None else flat_settings(config.method_spec)
    shown = {name: wording.setting(value) for name, value in settings.items() if value is not None}
    rows = [[name, f"{value}{'*' if name in searched else ''}"] for name, value in shown.items()]
    columns = [Column("setting", "code"), Column("value", "code")]
    return Table(columns, rows, "Names are TRL's and PEFT's. * was searched; the rest was fixed.")


def _data(gathered: Gathered) -> list[Block]:
    counts = {} if gathered.data is None else gathered.data.rows
    rows = [
        [split, f"{counts[split]:,}" if split in counts else wording.NONE, digest]
        for split, digest in gathered.data_sha256.items()
    ]
    columns = [Column("split"), Column("rows", "number"), Column("SHA-256 of the rows", "code")]
    return [Table(columns, rows, f"Data: {gathered.spec.data.train}.")] if rows else []


def _limits(gathered: Gathered, method: MethodSummary) -> list[Block]:
    tasks = sorted({metric.partition("/")[0] for metric in method.scores})
    untested = "how the model does elsewhere, and whether its answers are safe, fair or true, was not tested"
    texts = [
        f"Nothing but {wording.listed(tasks)} was scored: {untested}.",
        "The scores hold for rows like these; the intervals say how far other rows of the same kind would move them.",
    ]
    if len(method.scored) > 1:
        places = wording.listed([commands.trial_place(record, gathered) for record in method.scored])
        texts.append(f"The scores are means over {len(method.scored)} trained models ({places}); publish one of them.")
    leaks = {} if gathered.data is None else {split: count for split, count in gathered.data.leaks.items() if count}
    if leaks:
        seen = wording.listed([f"{count:,} of {split}" for split, count in sorted(leaks.items())])
        texts.append(f"Some held-out rows stand in the training rows too: {seen}.")
    return [*(Paragraph(text) for text in texts), *missing_notes(gathered)]


def _reproduce(gathered: Gathered, method: MethodSummary) -> list[Block]:
    found = [commands.commands_of(record, gathered) for record in method.scored]
    lines = [one[kind] for kind in ("score", "train") for one in found if kind in one]
    return [
        Paragraph(
            "With the study's run directory, from the directory that holds its parent: the first lines score what was "
            "saved again, the rest train each seed again from its config alone."
        ),
        Code("\n".join(lines)),
    ]
