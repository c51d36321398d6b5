"""Macro F1 is no mean over items: it has a verdict all the same, and what has none is named with the reason."""

import json
import random
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from evals.result import Metric
from evals.tasks.aggregate import AGGREGATIONS
from reports.contrast import CONSTANT_ANSWER, against_constant, contrast
from reports.document import Paragraph, Table, text_of
from reports.gather import gather
from reports.labels import constant_side
from reports.pairing import pair
from reports.sides import MetricName, Side, metric_names, read_answers
from reports.summary import summarize
from reports.verdict import judge_run
from reports.verdict_sections import verdict_blocks
from sweep.record import TrialRecord
from sweep.store import RunDirectory, write_record

NAME = MetricName("own", "macro_f1")
TOPICS = ("delivery", "refund", "other")
Builder = Callable[..., RunDirectory]


def labels_of(record: TrialRecord, count: int) -> list[tuple[str, str]]:
    """Expected and given topics; methods are right on more items than the base model, lora on most."""
    right = {"lora": 0.9, "qlora": 0.85, "full": 0.6, None: 0.3}[record.config.method]
    draw = random.Random(f"{record.config.method} {record.config.number}")  # noqa: S311
    expected = [TOPICS[place % 5 % 3] for place in range(count)]
    return [(one, one if draw.random() < right else draw.choice((*TOPICS, ""))) for one in expected]


def with_labels(run: RunDirectory, record: TrialRecord) -> None:
    """Make a record's own rows a task of labels besides."""
    assert record.evaluation is not None
    directory = run.directory_of(record.config)
    [path] = directory.eval.glob("samples_own_*.jsonl")
    samples = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    pairs = labels_of(record, len(samples))
    for sample, pair_of in zip(samples, pairs, strict=True):
        sample |= {"macro_f1": list(pair_of), "metrics": [*sample["metrics"], "macro_f1"]}
    path.write_text("".join(json.dumps(sample) + "\n" for sample in samples), "utf-8")
    metrics = {**record.evaluation.metrics, str(NAME): AGGREGATIONS["macro_f1"].metric(pairs)}
    constant = AGGREGATIONS["macro_f1"].metric([(expected, "delivery") for expected, _ in pairs])
    constants = {**record.evaluation.constant, str(NAME): constant}
    evaluation = record.evaluation.model_copy(update={"metrics": metrics, "constant": constants})
    write_record(directory, record.model_copy(update={"evaluation": evaluation}))


@pytest.fixture
def labelled(tmp_path: Path, build: Builder) -> RunDirectory:
    run = build(tmp_path)
    gathered = gather(run)
    assert gathered.confirm_baseline is not None
    for record in (gathered.confirm_baseline, *(one for method in gathered.methods for one in method.scored)):
        with_labels(run, record)
    return run


def test_every_pair_has_a_verdict_on_macro_f1(labelled: RunDirectory) -> None:
    judgement = judge_run(gather(labelled), str(NAME))

    found = {(one.contrast.one, one.contrast.other): one for one in judgement.headline}

    assert set(found) == {
        *(("lora", "qlora"), ("lora", "full"), ("qlora", "full")),
        *((method, other) for method in ("lora", "qlora", "full") for other in ("base model", CONSTANT_ANSWER)),
    }
    assert found["lora", "base model"].outcome == "better"
    assert found["lora", "full"].outcome == "better"
    assert found["lora", "qlora"].outcome == "undecided"
    assert {one.contrast.test for one in found.values()} == {"paired bootstrap over items and seeds"}
    assert all((one.contrast.items, one.contrast.clusters) == (60, 7) for one in found.values())
    assert "60 items in 7 groups, 3 seeds each" in found["lora", "full"].sentence
    assert not any("macro_f1" in note for note in judgement.notes)


def test_its_scores_are_those_of_the_records(labelled: RunDirectory) -> None:
    gathered = gather(labelled)
    scores = summarize(gathered).methods[0].scores[str(NAME)]
    of_pair = judge_run(gathered, str(NAME)).headline[0]

    assert of_pair.contrast.one == "lora"
    assert of_pair.contrast.scores[0] == pytest.approx(scores.value, abs=1e-12)
    assert scores.groups == 7
    assert scores.item_stderr is not None
    assert scores.item_stderr > 0


def test_the_verdicts_section_has_it_as_the_headline(labelled: RunDirectory) -> None:
    gathered = gather(labelled)
    summary = summarize(gathered)

    blocks = verdict_blocks(gathered, summary, judge_run(gathered, str(NAME)))

    assert isinstance(blocks[0], Paragraph)
    assert "Macro F1 is no mean over items" in blocks[0].text
    tables = [block for block in blocks if isinstance(block, Table)]
    assert "own/macro_f1 ↑" in [text_of(row[0]) for row in tables[0].rows]
    # Its errors come from resampling already.
    assert {text_of(row[5]) for row in tables[1].rows} == {"\u2013"}


def written(root: Path, name: str, pairs: Sequence[tuple[str, str]], *, first: int = 0) -> Side:
    """A side of one model whose items have these labels."""
    lines = []
    for place, of_item in enumerate(pairs, start=first):
        sample = {
            "doc_id": place,
            "doc_hash": f"d{place}",
            "doc": {"row": place},
            "target": of_item[0],
            "filtered_resps": [of_item[1]],
            "filter": "none",
            "metrics": ["macro_f1"],
            "macro_f1": list(of_item),
        }
        lines.append(json.dumps(sample) + "\n")
    directory = root / name
    directory.mkdir()
    (directory / "samples_own_2026-01-02T03-04-05.jsonl").write_text("".join(lines), "utf-8")
    return Side(name, is_trained=True, models=(read_answers(directory),))


def test_only_items_that_both_answered_count(tmp_path: Path) -> None:
    draw = random.Random(1)  # noqa: S311
    pairs = [(draw.choice(TOPICS), draw.choice(TOPICS)) for _ in range(40)]
    one, other = written(tmp_path, "one", pairs[:35]), written(tmp_path, "other", pairs[10:], first=10)

    found = contrast(one, other, NAME, higher_is_better=True)

    assert metric_names([one]) == [NAME]
    assert found is not None
    assert (found.items, found.unpaired) == (25, (10, 5))
    assert found.difference == 0.0
    assert found.scores[0] == pytest.approx(AGGREGATIONS["macro_f1"].metric(pairs[10:35]).value)


def test_one_item_alone_is_not_compared(tmp_path: Path) -> None:
    one, other = (written(tmp_path, name, [("refund", "refund")]) for name in ("one", "other"))

    assert pair(one, other, NAME) is None


def test_the_constant_answer_is_found_by_its_score(tmp_path: Path) -> None:
    draw = random.Random(2)  # noqa: S311
    pairs = [(TOPICS[place % 5 % 3], draw.choice(TOPICS)) for place in range(50)]
    answered = written(tmp_path, "lora", pairs)
    constant = AGGREGATIONS["macro_f1"].metric([(expected, "delivery") for expected, _ in pairs])

    found = against_constant(answered, NAME, constant)

    assert found is not None
    assert found.scores[1] == pytest.approx(constant.value)
    assert constant_side(answered, NAME, 0.123, CONSTANT_ANSWER) is None
    unknown = Metric(value=0.123, stderr=0.1, n=50, higher_is_better=True)
    assert against_constant(answered, NAME, unknown) is None


def test_what_has_no_verdict_is_named_with_the_reason(labelled: RunDirectory) -> None:
    gathered = gather(labelled)
    for method in gathered.methods:
        for record in method.scored:
            assert record.evaluation is not None
            extra = {
                name: Metric(value=0.5, stderr=0.1, n=60, higher_is_better=True)
                for name in ("own/corpus_bleu", "own/perplexity", "truthful/acc")
            }
            extra["own/json_valid"] = Metric(value=0.123, stderr=0.1, n=60, higher_is_better=True)
            evaluation = record.evaluation.model_copy(update={"metrics": {**record.evaluation.metrics, **extra}})
            directory = labelled.directory_of(record.config)
            write_record(directory, record.model_copy(update={"evaluation": evaluation}))
            [path] = directory.eval.glob("samples_own_*.jsonl")
            samples = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
            texts = {"corpus_bleu": ["as expected", "as given"]}
            lines = [json.dumps(one | texts | {"metrics": [*one["metrics"], "corpus_bleu"]}) for one in samples]
            path.write_text("\n".join(lines) + "\n", "utf-8")
    base = gathered.confirm_baseline
    assert base is not None
    assert base.evaluation is not None
    metrics = {name: one for name, one in base.evaluation.metrics.items() if name != "own/json_valid"}
    without = base.evaluation.model_copy(update={"metrics": metrics})
    write_record(labelled.directory_of(base.config), base.model_copy(update={"evaluation": without}))

    notes = judge_run(gather(labelled), None).notes

    assert (
        "No verdict on own/corpus_bleu: it is computed from all answers at once, and single items have no score to "
        "compare."
    ) in notes
    assert "No verdict on own/perplexity: single items have no such score." in notes
    assert "No verdict on truthful/acc: no per-item answers." in notes
    assert any("own/json_valid: the score is not the mean or ratio" in note for note in notes)
