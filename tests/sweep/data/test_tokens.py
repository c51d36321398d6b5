"""Training and scoring must see the same tokens: HFLM itself is the second implementation."""

import json
from pathlib import Path

import pytest
import torch
from datasets import Dataset

from evals.spec import OwnRow
from sweep.data.prepare import prepare
from sweep.data.template import Rendered
from sweep.data.tokens import tokenize
from sweep.errors import DataError
from sweep.spec import DataSpec

QUESTIONS = ["What is up?", "Trailing space ", "Line break\n\n", "Ünïcödé 🙂", "  leading", "tab\t"]


def conversation(question: str, number: int) -> dict[str, object]:
    turns = [("system", "Be brief."), ("user", "Hello"), ("assistant", "Hi."), ("user", question)]
    messages = [{"role": role, "content": content} for role, content in turns]
    return {"messages": [*messages, {"role": "assistant", "content": f" answer {number}"}]}


SHAPES = {
    "messages": conversation,
    "prompt": lambda question, number: {"prompt": question, "completion": f" {number}. {question}"},
    "instruction": lambda question, number: {"instruction": question, "input": f"{number} ", "output": question},
    "text": lambda question, number: {"text": f"{question}{number}"},
}


@pytest.fixture(scope="module")
def scorer(tiny_model: Path):
    """lm-evaluation-harness's own reading of the tiny model."""
    from lm_eval.models.huggingface import HFLM

    return HFLM(pretrained=str(tiny_model), dtype="float32", device="cpu", batch_size=2)


def scored_tokens(scorer, row: OwnRow) -> tuple[list[int], list[int]]:
    seen: list[tuple[list[int], list[int]]] = []

    class Request:
        args = (row.prompt, row.completion)

    original = scorer._loglikelihood_tokens
    scorer._loglikelihood_tokens = lambda requests, **_: [seen.append((requests[0][1], requests[0][2]))]
    try:
        scorer.loglikelihood([Request()], disable_tqdm=True)
    finally:
        scorer._loglikelihood_tokens = original
    return seen[0]


def trained_tokens(dataset: Dataset, place: int) -> tuple[list[int], list[int]]:
    ids, mask = dataset[place]["input_ids"], dataset[place]["completion_mask"]
    border = mask.index(1)
    assert mask == [0] * border + [1] * (len(ids) - border)
    return ids[:border], ids[border:]


@pytest.mark.parametrize("template", [None, False])
@pytest.mark.parametrize("shape", SHAPES)
def test_training_learns_the_tokens_that_scoring_scores(
    shape, template, scorer, tiny_tokenizer, tmp_path: Path
) -> None:
    if shape == "messages" and template is False:
        pytest.skip("conversations need the template")
    rows = [SHAPES[shape](question, number) for question in QUESTIONS for number in range(10)]
    (tmp_path / "d.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    spec = DataSpec(train="d.jsonl", apply_chat_template=template, validation=0.2, test=0.2)

    prepared = prepare(spec, tiny_tokenizer, data_root=tmp_path, max_length=512, directory=tmp_path / "out", seed=1)

    for split in ("train", "validation", "test"):
        own = [OwnRow.model_validate_json(row) for row in prepared.own(split).rows.read_text("utf-8").splitlines()]
        dataset = prepared.dataset(split)
        assert len(own) == len(dataset) == prepared.rows[split] > 0
        for place, row in enumerate(own):
            assert trained_tokens(dataset, place) == scored_tokens(scorer, row)


def test_validation_loss_is_the_scored_loss(scorer, tiny_tokenizer) -> None:
    rendered = [Rendered("Say it: ", "yes, it is.<|im_end|>"), Rendered("<|im_start|>user\nHi<|im_end|>\n", "Hello\n")]

    class Request:
        def __init__(self, row: Rendered) -> None:
            self.args = (row.prompt, row.completion)

    scored = [value for value, _ in scorer.loglikelihood([Request(row) for row in rendered], disable_tqdm=True)]

    for tokens, expected in zip(tokenize(rendered, tiny_tokenizer), scored, strict=True):
        ids = torch.tensor([tokens.input_ids.tolist()])
        labels = ids.clone()
        labels[:, : tokens.prompt_length] = -100
        with torch.no_grad():
            loss = scorer.model(input_ids=ids, labels=labels).loss
        assert -float(loss) * tokens.completion_length == pytest.approx(expected, rel=1e-4)


def with_begin_token(tokenizer) -> None:
    from tokenizers.processors import TemplateProcessing

    begin = tokenizer.bos_token
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single=f"{begin} $A", special_tokens=[(begin, tokenizer.bos_token_id)]
    )


def test_a_begin_token_is_added_once_whether_or_not_the_template_wrote_it(tiny_tokenizer) -> None:
    with_begin_token(tiny_tokenizer)
    begin = tiny_tokenizer.bos_token_id

    written, bare, plain = (
        tokenize([row], tiny_tokenizer)[0].input_ids.tolist()
        for row in (Rendered("<|im_start|>Q", "A"), Rendered("Q", "A"), Rendered("", "A"))
    )

    assert written == bare
    assert [ids.count(begin) for ids in (written, bare, plain)] == [1, 1, 1]
    assert plain[0] == begin


def test_a_text_that_starts_with_the_begin_token_does_not_get_it_twice(tiny_tokenizer) -> None:
    (tokens,) = tokenize([Rendered("", "<|im_start|>A")], tiny_tokenizer)

    assert tokens.input_ids.tolist().count(tiny_tokenizer.bos_token_id) == 1
    assert tokens.completion_length == 1


def test_a_prompt_that_merges_with_its_completion_is_told_apart(tiny_tokenizer) -> None:
    from tokenizers import models

    vocabulary = tiny_tokenizer.get_vocab()
    merged = {**vocabulary, "ab": len(vocabulary)}
    tiny_tokenizer.backend_tokenizer.model = models.BPE(vocab=merged, merges=[("a", "b")])

    merging, whole = tokenize([Rendered("a", "b"), Rendered("a", "c")], tiny_tokenizer)

    assert not merging.whole
    assert whole.whole


def test_a_tokenizer_without_begin_and_end_is_refused(tiny_tokenizer) -> None:
    tiny_tokenizer.bos_token = None
    tiny_tokenizer.eos_token = None

    with pytest.raises(DataError, match="neither a beginning-of-sequence nor an end-of-sequence token"):
        tokenize([Rendered("", "A")], tiny_tokenizer)
