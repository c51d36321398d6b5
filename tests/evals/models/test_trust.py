"""Weights that run code when they are read, and code that a model brings, stay outside."""

import json
import shutil
import struct
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, get_peft_model

from evals.errors import ModelError
from evals.models.bank import read_lora
from evals.models.load import context_of, load_model, load_tokenizer
from evals.models.scored import load_lm
from evals.spec import ModelSpec
from sweep.plan.inspect import inspect_model

# This calls PEFT itself, which reads this attribute by the name that transformers renamed.
pytestmark = pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")
CPU = torch.device("cpu")
COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Trap:
    """What a pickle does when it is read: here, it makes a file."""

    def __init__(self, sprung: Path) -> None:
        self.sprung = sprung

    def __reduce__(self):
        return Path.touch, (self.sprung,)


@pytest.fixture
def pickled(tiny_model, tmp_path) -> Path:
    """The tiny model, but that its weights are a pickle with a trap in it."""
    directory = shutil.copytree(tiny_model, tmp_path / "pickled")
    (directory / "model.safetensors").unlink()
    torch.save({"trap": Trap(tmp_path / "sprung")}, directory / "pytorch_model.bin")
    return directory


@pytest.fixture
def coded(tiny_model, tmp_path) -> Path:
    """The tiny model, but that its configuration, tokenizer and model are classes of its own."""
    directory = shutil.copytree(tiny_model, tmp_path / "coded")
    touch = f"from pathlib import Path\nPath({str(tmp_path / 'sprung')!r}).touch()\nclass Own: ...\n"
    (directory / "own.py").write_text(touch)
    for name, classes in {
        "config.json": {"AutoConfig": "own.Own", "AutoModelForCausalLM": "own.Own"},
        "tokenizer_config.json": {"AutoTokenizer": ["own.Own", "own.Own"]},
    }.items():
        settings = json.loads((directory / name).read_text())
        settings |= {"auto_map": classes, "model_type": "of_its_own", "tokenizer_class": "Own"}
        (directory / name).write_text(json.dumps(settings))
    return directory


def spec(model: Path, **settings: object) -> ModelSpec:
    return ModelSpec(model_name_or_path=str(model), dtype="float32", **settings)


def test_a_model_whose_weights_are_a_pickle_is_refused_unread(pickled, tmp_path) -> None:
    with pytest.raises(ModelError, match=r"pytorch_model\.bin is a pickle.* Save the weights as safetensors\.$"):
        load_model(spec(pickled), cache=tmp_path, device=CPU)

    assert not (tmp_path / "sprung").exists()


def test_a_pickle_beside_safetensors_is_left_alone(pickled, tiny_model, tmp_path) -> None:
    shutil.copy(tiny_model / "model.safetensors", pickled)

    load_model(spec(pickled), cache=tmp_path, device=CPU)

    assert not (tmp_path / "sprung").exists()


def test_an_adapter_whose_weights_are_a_pickle_is_refused_unread(tiny_model, tmp_path) -> None:
    base = load_model(spec(tiny_model), cache=tmp_path, device=CPU)
    get_peft_model(base, LoraConfig(r=2, target_modules=["q_proj"])).save_pretrained(tmp_path / "adapter")
    (tmp_path / "adapter" / "adapter_model.safetensors").unlink()
    with pytest.raises(ModelError, match=r"no adapter_model\.safetensors"):
        read_lora(tmp_path / "adapter", CPU)
    torch.save({"trap": Trap(tmp_path / "sprung")}, tmp_path / "adapter" / "adapter_model.bin")

    for read in (
        lambda: read_lora(tmp_path / "adapter", CPU),
        lambda: load_lm(spec(tiny_model), cache=tmp_path, device=CPU, batch_size=1, adapter=tmp_path / "adapter"),
    ):
        with pytest.raises(ModelError, match=r"adapter_model\.bin is a pickle"):
            read()
    assert not (tmp_path / "sprung").exists()


def test_code_of_a_models_own_does_not_run_unless_it_is_asked_for(coded, tmp_path) -> None:
    for read in (
        lambda: load_tokenizer(spec(coded), cache=tmp_path),
        lambda: load_model(spec(coded), cache=tmp_path, device=CPU),
        lambda: inspect_model(spec(coded), cache=tmp_path),
    ):
        with pytest.raises(ModelError, match=r"code of its own, which is not run unread|custom code"):
            read()

    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize("revision", [None, "main", "v1.0", COMMIT[:12], COMMIT.upper()])
def test_code_of_a_models_own_needs_a_full_commit_hash(coded, tmp_path, revision) -> None:
    asked = spec(coded, trust_remote_code=True, revision=revision)
    for read in (
        lambda: load_tokenizer(asked, cache=tmp_path),
        lambda: load_model(asked, cache=tmp_path, device=CPU),
        lambda: inspect_model(asked, cache=tmp_path),
    ):
        with pytest.raises(ModelError, match="a full commit hash"):
            read()

    assert not (tmp_path / "sprung").exists()


def test_code_that_is_asked_for_at_a_commit_runs(coded, tmp_path, monkeypatch) -> None:
    # Otherwise the tests above would pass for a model whose code nobody could run.
    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(tmp_path / "modules"))

    with pytest.raises(Exception):  # noqa: B017, PT011 - the toy's class is none that transformers can use
        inspect_model(spec(coded, trust_remote_code=True, revision=COMMIT), cache=tmp_path)

    assert (tmp_path / "sprung").exists()


@pytest.mark.parametrize("name", ["kernels-community/flash-attn", "evil/kernel@main", "paged|x/y"])
def test_attention_from_the_hub_is_no_back_end(name) -> None:
    with pytest.raises(ValueError, match="attn_implementation"):
        ModelSpec(model_name_or_path="m", attn_implementation=name)


@pytest.mark.parametrize(
    "content", [b"", bytes(range(256)) * 16, struct.pack("<Q", 2**63 - 1) + b"{}", struct.pack("<Q", 2) + b"[]"]
)
def test_damaged_weights_are_answered_in_a_line(tiny_model, tmp_path, content) -> None:
    directory = shutil.copytree(tiny_model, tmp_path / "damaged")
    (directory / "model.safetensors").write_bytes(content)

    with pytest.raises(ModelError, match=r"damaged: cannot be loaded: \S[^\n]*$"):
        load_model(spec(directory), cache=tmp_path, device=CPU)


def changed(directory: Path, name: str, **settings: object) -> None:
    before = json.loads((directory / name).read_text())
    (directory / name).write_text(json.dumps({**before, **settings}))


@pytest.mark.parametrize("layers", [10**7, 10**12])
def test_a_model_of_layers_without_number_is_refused_unbuilt(tiny_model, tmp_path, layers) -> None:
    directory = shutil.copytree(tiny_model, tmp_path / "endless")
    changed(directory, "config.json", num_hidden_layers=layers)
    for read in (
        lambda: load_model(spec(directory), cache=tmp_path, device=CPU),
        lambda: context_of(spec(directory), cache=tmp_path),
        lambda: inspect_model(spec(directory), cache=tmp_path),
        lambda: inspect_model(spec(tiny_model), cache=tmp_path, config_file=directory / "config.json"),
    ):
        with pytest.raises(ModelError, match=r"at most 10,000 layers"):
            read()


@pytest.mark.parametrize("settings", [{"num_hidden_layers": "x" * 10}, {"hidden_size": 128}, {"vocab_size": 999}])
def test_a_configuration_that_is_not_its_weights_is_answered_in_a_line(tiny_model, tmp_path, settings) -> None:
    directory = shutil.copytree(tiny_model, tmp_path / "other")
    changed(directory, "config.json", **settings)

    with pytest.raises(ModelError, match=r"other: cannot be loaded: \S[^\n]*$"):
        load_model(spec(directory), cache=tmp_path, device=CPU)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"target_modules": "(([a-z_.0-9])+)+!"}, "a pattern of its adapter_config.json"),
        ({"target_modules": ["q_proj"], "rank_pattern": {"(([a-z_.0-9])+)+!": 2}}, "a pattern of its"),
        ({"target_modules": ["q_proj"], "layer_replication": [[0, 2]] * 10**4}, "20,000 layers"),
        ({"target_modules": ["q_proj"], "layer_replication": [[0, 10**9], [10**9, 0]]}, "layers"),
        ({"layer_replication": "abc"}, "adapter_config.json cannot be read"),
    ],
)
def test_an_adapter_without_an_end_is_refused(tiny_model, tmp_path, monkeypatch, settings, says) -> None:
    monkeypatch.setattr("evals.models.trust.PATTERN_SECONDS", 0.5)
    base = load_model(spec(tiny_model), cache=tmp_path, device=CPU)
    get_peft_model(base, LoraConfig(r=2, target_modules=["q_proj"])).save_pretrained(tmp_path / "adapter")
    changed(tmp_path / "adapter", "adapter_config.json", **settings)

    with pytest.raises(ModelError, match=says):
        load_lm(spec(tiny_model), cache=tmp_path, device=CPU, batch_size=1, adapter=tmp_path / "adapter")
    if "replication" not in str(settings):
        with pytest.raises(ModelError, match=says):
            read_lora(tmp_path / "adapter", CPU)


def test_an_adapter_with_patterns_that_end_is_attached(tiny_model, tmp_path) -> None:
    base = load_model(spec(tiny_model), cache=tmp_path, device=CPU)
    get_peft_model(base, LoraConfig(r=2, target_modules=["q_proj", "v_proj"])).save_pretrained(tmp_path / "adapter")
    changed(tmp_path / "adapter", "adapter_config.json", target_modules=r".*\.(q|v)_proj", rank_pattern={"q_proj": 2})

    load_lm(spec(tiny_model), cache=tmp_path, device=CPU, batch_size=1, adapter=tmp_path / "adapter")


def test_a_pickle_that_an_index_names_is_not_read(pickled, tiny_model, tmp_path) -> None:
    shutil.copy(tiny_model / "model.safetensors", pickled / "other.safetensors")
    weights = load_model(spec(tiny_model), cache=tmp_path, device=CPU).state_dict()
    index = {"metadata": {}, "weight_map": dict.fromkeys(weights, "pytorch_model.bin")}
    (pickled / "model.safetensors.index.json").write_text(json.dumps(index))

    with pytest.raises(ModelError, match="pickle"):
        load_model(spec(pickled), cache=tmp_path, device=CPU)

    assert not (tmp_path / "sprung").exists()
