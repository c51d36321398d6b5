"""The loss on plain prose: what is read, and that it is the model's own cross-entropy."""

import math
from pathlib import Path

import pytest
import torch
from lm_eval.models.huggingface import HFLM
from transformers import AutoModelForCausalLM, AutoTokenizer

from evals.errors import TaskError
from evals.harness import score
from evals.items import read_items
from evals.models.scored import load_lm
from evals.spec import ModelSpec, PortionSpec, ScoringSpec, TaskSpec
from evals.tasks.paragraphs import LONGEST, read_paragraphs, text_sha256

TASK = TaskSpec(task="general_text")


@pytest.fixture(scope="module")
def lm(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> HFLM:
    model = ModelSpec(model_name_or_path=str(tiny_model), dtype="float32")
    return load_lm(model, cache=tmp_path_factory.mktemp("cache"), device=torch.device("cpu"), batch_size=4)


def test_the_loss_is_the_models_cross_entropy_over_all_tokens(lm: HFLM, tiny_model: Path, tmp_path: Path) -> None:
    text = tmp_path / "text.txt"
    text.write_text("One paragraph,\nover two lines.\n\n\nAnother one: naïve, but short.\n")
    model = AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    total, tokens, size = 0.0, 0, 0
    for paragraph in ("One paragraph, over two lines.", "Another one: naïve, but short."):
        # The tokenizer's prefix token stands before the text, so that its first token is predicted too.
        ids = [lm.prefix_token_id, *tokenizer.encode(paragraph)]
        with torch.no_grad():
            logits = model(torch.tensor([ids])).logits[0, :-1]
        total += torch.nn.functional.cross_entropy(logits, torch.tensor(ids[1:]), reduction="sum").item()
        tokens += len(ids) - 1
        size += len(paragraph.encode())

    scoring = ScoringSpec(batch_size=4, general_text=text)
    metrics = score(lm, [TASK], scoring, own=None, output=tmp_path / "eval").metrics

    assert set(metrics) == {"general_text/loss", "general_text/bits_per_byte"}
    assert metrics["general_text/loss"].value == pytest.approx(total / tokens, rel=1e-5)
    assert metrics["general_text/bits_per_byte"].value == pytest.approx(total / math.log(2) / size, rel=1e-5)
    assert not metrics["general_text/loss"].higher_is_better


def test_each_paragraph_of_the_bundled_text_is_an_item_that_can_be_paired(lm: HFLM, tmp_path: Path) -> None:
    result = score(lm, [TASK], ScoringSpec(batch_size=4), own=None, output=tmp_path / "eval")

    items = read_items(tmp_path / "eval")
    assert len(items) == result.metrics["general_text/loss"].n == len(read_paragraphs(None))
    assert [item.row for item in items] == list(range(1, len(items) + 1))
    weights = [item.weights["loss"] for item in items]
    mean = sum(item.scores["loss"] * item.weights["loss"] for item in items) / sum(weights)
    assert mean == pytest.approx(result.metrics["general_text/loss"].value)


def test_the_bundled_text_is_a_few_dozen_different_paragraphs_that_small_models_can_read() -> None:
    paragraphs = read_paragraphs(None)

    assert 30 <= len(paragraphs) <= 60
    assert len(set(paragraphs)) == len(paragraphs)
    assert all(150 < len(paragraph) <= LONGEST for paragraph in paragraphs)


def test_text_of_the_users_is_divided_at_empty_lines_and_where_it_is_long(tmp_path: Path) -> None:
    path = tmp_path / "text.txt"
    path.write_bytes("\ufeffshort\r\n\r\n".encode() + b"word " * 1000)

    found = read_paragraphs(path)

    assert found[0] == "short"
    assert all(len(paragraph) <= LONGEST for paragraph in found)
    assert " ".join(found[1:]).split() == ["word"] * 1000
    assert text_sha256(path) != text_sha256(None)


@pytest.mark.parametrize(
    ("content", "says"), [(b" \n\n ", "holds no text"), (b"\xff\xfe\xff", "not UTF-8 text"), (None, "No such file")]
)
def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path, content: bytes | None, says: str) -> None:
    path = tmp_path / "text.txt"
    if content is not None:
        path.write_bytes(content)

    with pytest.raises(TaskError, match=f"{path}.*{says}"):
        read_paragraphs(path)


def test_settings_that_make_no_sense_here_are_refused(lm: HFLM, tmp_path: Path) -> None:
    with pytest.raises(TaskError, match="read as it is"):
        score(lm, [TASK.model_copy(update={"num_fewshot": 2})], ScoringSpec(), own=None, output=tmp_path / "eval")


def test_the_text_can_be_divided_as_any_task(lm: HFLM, tmp_path: Path) -> None:
    task = TASK.model_copy(update={"portion": PortionSpec(part="search", search=5)})

    score(lm, [task], ScoringSpec(batch_size=4), own=None, output=tmp_path / "eval")

    assert len(read_items(tmp_path / "eval")) == 5
