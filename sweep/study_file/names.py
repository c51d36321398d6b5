"""What somebody meant by a key that is none: a slip of the keys, another section's key, or another tool's habit."""

import difflib
from collections.abc import Iterable, Mapping

from sweep.study_file.document import Place
from sweep.study_file.keys import SECTIONS_BY_KEY, keys_of

_ALIASES: Mapping[str, tuple[str, ...]] = {
    "alpha": ("lora_alpha",),
    "base_model": ("model_name_or_path",),
    "base_model_name_or_path": ("model_name_or_path",),
    "batch_size": ("effective_batch_size",),
    "betas": ("adam_beta1",),
    "chat_template": ("apply_chat_template",),
    "categorical": ("values",),
    "choices": ("values",),
    "cutoff_len": ("max_length",),
    "dataset": ("train",),
    "dataset_name": ("train",),
    "dora": ("use_dora",),
    "double_quant": ("use_bnb_nested_quant",),
    "bnb_4bit_use_double_quant": ("use_bnb_nested_quant",),
    "dropout": ("lora_dropout",),
    "epochs": ("num_train_epochs",),
    "eval_batch_size": ("batch_size",),
    "few_shot": ("num_fewshot",),
    "fewshot": ("num_fewshot",),
    "gpu_hours": ("device_hours_per_method",),
    "gpu_hours_per_method": ("device_hours_per_method",),
    "high": ("max",),
    "init_weights": ("init_lora_weights",),
    "id": ("model_name_or_path",),
    "low": ("min",),
    "lora_rank": ("lora_r",),
    "lr": ("learning_rate",),
    "lr_scheduler": ("lr_scheduler_type",),
    "max_seq_len": ("max_length",),
    "max_seq_length": ("max_length",),
    "metric": ("objective",),
    "micro_batch_size": ("per_device_train_batch_size",),
    "mlflow_uri": ("tracking_uri",),
    "model_name": ("model_name_or_path",),
    "model_id": ("model_name_or_path",),
    "name": ("model_name_or_path", "task"),
    "n_trials": ("trials_per_method",),
    "num_trials": ("trials_per_method",),
    "num_epochs": ("num_train_epochs",),
    "num_shots": ("num_fewshot",),
    "optimizer": ("optim",),
    "parameters": ("search_space",),
    "path": ("model_name_or_path", "train"),
    "q": ("step",),
    "r": ("lora_r",),
    "rank": ("lora_r",),
    "rslora": ("use_rslora",),
    "scheduler": ("lr_scheduler_type",),
    "seeds": ("confirm_seeds",),
    "sequence_len": ("max_length",),
    "shots": ("num_fewshot",),
    "space": ("search_space",),
    "system_prompt": ("system",),
    "target_modules": ("lora_target_modules",),
    "test_size": ("test",),
    "tokens": ("tokens_per_method",),
    "torch_dtype": ("dtype",),
    "train_batch_size": ("effective_batch_size",),
    "file": ("train",),
    "train_file": ("train",),
    "train_on_inputs": ("completion_only_loss",),
    "trials": ("trials_per_method",),
    "val_set_size": ("validation",),
    "val_size": ("validation",),
    "wd": ("weight_decay",),
}
"""Other tools' names for our keys; of several, the one that the section has."""

_ADVICE: Mapping[str, str] = {
    "bf16": "Set model.dtype: bfloat16.",
    "bnb_4bit_compute_dtype": "4-bit weights compute in model.dtype.",
    "direction": "Set objective.maximize or objective.minimize.",
    "early_stopping": "Choose a pruner.",
    "eval_steps": "Set training.validations, the number of times the validation loss is taken.",
    "eval_strategy": "Set training.validations, the number of times the validation loss is taken.",
    "fp16": "Set model.dtype: float16.",
    "gradient_accumulation_steps": "Set effective_batch_size; gradients are accumulated up to it.",
    "load_in_8bit": "Only 4-bit bases are supported: use the method qlora.",
    "logging_steps": "Every step is recorded.",
    "lora": "Write methods: [lora].",
    "output_dir": "Give the place on the command line: sweep run --runs DIR.",
    "packing": "Rows are not packed, since packing changes which rows share a batch.",
    "qlora": "Write methods: [qlora].",
    "report_to": "Set tracking.mlflow and tracking.tracking_uri.",
    "save_strategy": "Each trial's last checkpoint is kept.",
    "tasks": "List tasks under evaluation.search and evaluation.confirm.",
    "warmup_ratio": "Use warmup_steps: a share of all steps below 1.",
}
"""Other tools' keys that have no counterpart of the same meaning, and what to do instead."""


_WORDS: Mapping[str, str] = {
    "adamw": "adamw_torch",
    "asha": "successive_halving",
    "bayesian": "gp",
    "bf16": "bfloat16",
    "brute_force": "grid",
    "bruteforce": "grid",
    "cma_es": "cmaes",
    "fp16": "float16",
    "fp32": "float32",
    "gaussian_process": "gp",
    "half": "float16",
    "sha": "successive_halving",
    "sobol": "qmc",
    "wsd": "warmup_stable_decay",
}
"""Other words for our choices."""

_FEW = 2
"""More places than this are no help in a sentence."""


def dotted(place: Place) -> str:
    """A place as a person writes it: `evaluation.search[0].limit`."""
    return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in place).removeprefix(".")


def nearest(word: str, names: Iterable[str], cutoff: float = 0.6) -> str | None:
    """The name most like a word, if any is."""
    found = difflib.get_close_matches(word, list(names), n=1, cutoff=cutoff)
    return found[0] if found else None


def meanings(key: str) -> tuple[str, ...]:
    """The key itself, then our names for it where it is another tool's."""
    return (key, *_ALIASES.get(_plain(key), ()))


def advice(key: str) -> str | None:
    """What to do instead of a key that has no counterpart here."""
    return _ADVICE.get(_plain(key))


def correction(place: Place) -> tuple[str, Place | None]:
    """What to say about an unknown key, and the place beside it that was meant, if that can be guessed."""
    key, names = str(place[-1]), keys_of(place[:-1])
    if (said := advice(key)) is not None:
        return said, None
    near = next((name for name in meanings(key) if name in names), None) or nearest(key, names, cutoff=0.75)
    elsewhere = [".".join((*section, name)) for name in meanings(key) for section in SECTIONS_BY_KEY.get(name, ())]
    if place[0] == "methods" and len(place) > 1:
        elsewhere = [name.replace("methods.NAME.", f"methods.{place[1]}.") for name in elsewhere]
    if near is None and 0 < len(elsewhere) <= _FEW:
        return f"Did you mean {' or '.join(map(repr, elsewhere))}?", None
    near = near or nearest(key, names)
    if near is not None:
        return f"Did you mean {near!r}?", (*place[:-1], near)
    return f"Allowed: {', '.join(names)}.", None


def intended(word: str, choices: Iterable[str]) -> str | None:
    """The choice that a word was meant to be, if any is like it."""
    choices = list(choices)
    alias = _WORDS.get(_plain(word))
    return alias if alias in choices else nearest(word, choices)


def _plain(key: str) -> str:
    return key.lower().replace("-", "_")
