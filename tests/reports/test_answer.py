"""What the head of a report claims: only what verdicts carry."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from reports.answer import answer_blocks, stands_apart
from reports.document import Paragraph
from reports.gather import gather
from reports.sections import methods_table
from reports.summary import Summary, summarize
from reports.verdict import Judgement, judge_run
from sweep.spec import StudySpec
from sweep.store import RunDirectory

Builder = Callable[..., RunDirectory]
Studies = Callable[..., StudySpec]


def judged(run: RunDirectory) -> tuple[Summary, Judgement]:
    gathered = gather(run)
    summary = summarize(gathered)
    return summary, judge_run(gathered, summary.metric)


def test_the_leader_is_not_bold_where_it_is_not_better_than_every_other(finished_run: RunDirectory) -> None:
    summary, judgement = judged(finished_run)

    assert not stands_apart(summary, judgement)
    assert methods_table(gather(finished_run), summary, judgement).emphasized == frozenset()


def test_a_leader_that_beats_all_others_is_bold(tmp_path: Path, build: Builder, study: Studies) -> None:
    run = build(tmp_path, study(("lora",)))
    summary, judgement = judged(run)

    assert stands_apart(summary, judgement)
    assert methods_table(gather(run), summary, judgement).emphasized == frozenset({0})


def test_a_leader_without_verdicts_is_never_bold(tmp_path: Path, build: Builder, study: Studies) -> None:
    summary, judgement = judged(build(tmp_path, study(("lora",)), confirm=False))

    assert judgement.all == ()
    assert not stands_apart(summary, judgement)


def test_methods_that_score_the_same_share_the_lead(finished_run: RunDirectory) -> None:
    summary, judgement = judged(finished_run)
    first, second, *rest = summary.ranked
    assert first.scores["own/exact_match"].value != second.scores["own/exact_match"].value
    alike = replace(second, scores={**second.scores, "own/exact_match": first.scores["own/exact_match"]})
    tied = replace(summary, methods=[first, alike, *rest])

    (lead, doubt, *_) = answer_blocks(gather(finished_run), tied, judgement)

    assert isinstance(lead, Paragraph)
    assert isinstance(doubt, Paragraph)
    assert f"{first.name} is better than {second.name}" not in doubt.text
    assert lead.text.startswith(f"{first.name} and {second.name} share the highest own/exact_match on the test split: ")
    assert f"Beside them: {rest[0].name} " in lead.text


def test_the_answer_quotes_the_verdicts_on_the_leader(finished_run: RunDirectory) -> None:
    summary, judgement = judged(finished_run)

    texts = [
        block.text for block in answer_blocks(gather(finished_run), summary, judgement) if isinstance(block, Paragraph)
    ]

    quoted = [verdict.sentence for verdict in judgement.headline if verdict.contrast.one == "lora"]
    assert len(quoted) == 4
    assert set(quoted) <= set(texts)
