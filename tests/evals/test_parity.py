"""The same answers as stock lm-evaluation-harness, request by request and item by item.

In float32 nothing but rounding may differ. The default run compares a tiny model on made-up requests of every shape;
the slow run compares the two commands on real benchmarks with the real 135M model (`tests/benchmarks/parity.py`).
"""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM
from transformers import AutoModelForCausalLM, AutoTokenizer, MistralConfig, MistralForCausalLM

from evals.models.scored import ScoredModel, load_lm
from evals.quiet import quietly
from evals.spec import ModelSpec

SHOTS = "".join(f"Q: {number} plus {number}?\nA: {2 * number}\n\n" for number in range(12))
QUESTIONS = ["Where?", "When was it, and why?", "7 plus 5?", "Who?"]
CHOICES = [" A", " B", " in Rome", " in Rome, at noon", " at", ""]


def models(model: torch.nn.Module, tokenizer_at: Path, batch_size: int) -> tuple[ScoredModel, HFLM]:
    tokenizer = AutoTokenizer.from_pretrained(tokenizer_at)
    given = {"pretrained": model.eval(), "tokenizer": tokenizer, "batch_size": batch_size, "softmax_dtype": "float32"}
    with quietly():
        return ScoredModel(**given), HFLM(**given)


@pytest.fixture(scope="module")
def tiny(tiny_model: Path) -> torch.nn.Module:
    """The tiny model with larger weights: near-uniform distributions would forgive a wrong mask."""
    model = AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32)
    with torch.no_grad():
        for weight in model.parameters():
            if weight.dim() > 1:
                weight.mul_(6)
    return model


def likelihood(context: str, continuation: str) -> Instance:
    return Instance("loglikelihood", {}, (context, continuation), 0)


def generation(context: str, **asked: object) -> Instance:
    return Instance("generate_until", {}, (context, {"do_sample": False, **asked}), 0)


def likelihood_requests() -> list[Instance]:
    asked = [
        likelihood(f"{shots}Q: {question}\nA:", choice)
        for shots in (SHOTS, "")
        for question in QUESTIONS
        for choice in CHOICES
        if choice
    ]
    # No context, a context that is too long for the model, and one that is asked twice.
    return [*asked, likelihood("", "Once upon"), likelihood("x" * 1500, " long"), asked[0]]


def assert_same_likelihoods(ours: HFLM, stock: HFLM, requests: list[Instance], tolerance: float = 1e-4) -> None:
    with quietly():
        mine, theirs = ours.loglikelihood(requests), stock.loglikelihood(requests)
    assert [greedy for _, greedy in mine] == [greedy for _, greedy in theirs]
    assert [logprob for logprob, _ in mine] == pytest.approx([logprob for logprob, _ in theirs], abs=tolerance)


@pytest.mark.parametrize("batch_size", [1, 3, 64])
def test_likelihoods_equal_the_stock_tools(tiny, tiny_model, batch_size) -> None:
    ours, stock = models(tiny, tiny_model, batch_size)

    assert ours.engine.fits
    assert_same_likelihoods(ours, stock, likelihood_requests())


def test_rolling_likelihoods_equal_the_stock_tools(tiny, tiny_model) -> None:
    ours, stock = models(tiny, tiny_model, 2)
    requests = [Instance("loglikelihood_rolling", {}, (text,), 0) for text in ("short", SHOTS, "y" * 2500)]

    with quietly():
        assert ours.loglikelihood_rolling(requests) == pytest.approx(stock.loglikelihood_rolling(requests), abs=2e-3)


@pytest.mark.parametrize("batch_size", [1, 3, 64])
@pytest.mark.parametrize(
    "asked",
    [
        {"until": ["\n\n", "Q:"], "max_gen_toks": 12},
        {"until": [], "max_gen_toks": 7},
        {"until": "e", "max_new_tokens": 20},
        {"until": ["q", "<|im_start|>"], "max_gen_toks": 30, "temperature": 0.0},
    ],
)
def test_generated_texts_equal_the_stock_tools(tiny, tiny_model, batch_size, asked) -> None:
    ours, stock = models(tiny, tiny_model, batch_size)
    contexts = [*(f"{shots}Q: {question}\nA:" for shots in (SHOTS, "") for question in QUESTIONS), "z" * 1500]
    requests = [generation(context, **asked) for context in contexts]

    with quietly():
        mine, theirs = ours.generate_until(requests), stock.generate_until(requests)

    assert mine == theirs
    assert len(set(mine)) > 3


def test_each_request_is_cut_by_its_own_stop_strings(tiny, tiny_model) -> None:
    ours, stock = models(tiny, tiny_model, 8)
    requests = [
        generation(SHOTS + question, until=until, max_gen_toks=length)
        for question in QUESTIONS
        for until, length in ((["a", "e"], 9), (["\n"], 16), ([], 3))
    ]

    with quietly():
        assert ours.generate_until(requests) == stock.generate_until(requests)


def test_what_our_loop_does_not_do_is_left_to_the_stock_tool(tiny, tiny_model) -> None:
    ours, stock = models(tiny, tiny_model, 2)
    requests = [generation(question, until=[], max_gen_toks=6, repetition_penalty=1.5) for question in QUESTIONS]

    with quietly():
        assert ours.generate_until(requests) == stock.generate_until(requests)


def test_a_models_own_generation_defaults_are_respected(tiny_model) -> None:
    model = AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32)
    model.generation_config.repetition_penalty = 1.7
    ours, stock = models(model, tiny_model, 2)
    requests = [generation(question, until=[], max_gen_toks=12) for question in QUESTIONS]

    with quietly():
        assert ours.generate_until(requests) == stock.generate_until(requests)


def test_a_model_with_windowed_attention_is_scored_the_plain_way(tiny_model) -> None:
    torch.manual_seed(0)
    config = MistralConfig(
        vocab_size=300,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        sliding_window=16,
        max_position_embeddings=512,
    )
    ours, stock = models(MistralForCausalLM(config), tiny_model, 4)

    assert not ours.engine.fits
    assert_same_likelihoods(ours, stock, likelihood_requests())
    requests = [generation(SHOTS + question, until=["e"], max_gen_toks=5) for question in QUESTIONS]
    with quietly():
        assert ours.generate_until(requests) == stock.generate_until(requests)


def test_in_bfloat16_likelihoods_stay_within_their_tolerance(tiny_model) -> None:
    model = AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.bfloat16)
    ours, stock = models(model, tiny_model, 4)
    requests = [request for request in likelihood_requests() if len(request.args[0]) < len(SHOTS) + 100]

    assert ours.engine.fits
    with quietly():
        mine, theirs = ours.loglikelihood(requests), stock.loglikelihood(requests)
    assert [logprob for logprob, _ in mine] == pytest.approx([logprob for logprob, _ in theirs], abs=0.05)


def test_a_completion_and_its_tokens_are_scored_the_same(tiny_model, tmp_path) -> None:
    spec = ModelSpec(model_name_or_path=str(tiny_model), dtype="float32")
    lm = load_lm(spec, cache=tmp_path, device=torch.device("cpu"), batch_size=2)
    requests = [likelihood(SHOTS, " four"), likelihood(SHOTS, " five and six")]
    with quietly():
        expected = HFLM(pretrained=lm.model, tokenizer=lm.tokenizer, batch_size=2).loglikelihood(requests)
        found = lm.completion_loglikelihood(requests)

    # The line breaks that end the prompt are scored with the completion.
    assert [count for _, count in found] == [7, 15]
    assert [logprob for logprob, _ in found] == pytest.approx([logprob for logprob, _ in expected], abs=1e-4)


@pytest.mark.slow
@pytest.mark.shared
def test_sweep_eval_scores_item_by_item_as_the_stock_command_scores(shared_data: Path) -> None:
    script = Path(__file__).parents[1] / "benchmarks" / "parity.py"
    command = [sys.executable, str(script), "--data", str(shared_data / "hub"), "--limit", "2"]

    ran = subprocess.run(command, capture_output=True, text=True, check=False)

    assert ran.returncode == 0, ran.stdout + ran.stderr
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in ran.stdout.splitlines() if line[:2] == "| "]
    found = {row[0]: (int(row[1]), row[-1]) for row in rows[1:]}
    assert found == {
        "mmlu": (114, "none"),
        "gsm8k": (4, "none"),
        "gsm8k_cot": (4, "none"),
        "humaneval": (2, "none"),
        "ifeval": (2, "none"),
    }
