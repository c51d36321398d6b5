"""Each method's best settings, beside each other."""

from collections.abc import Mapping

from reports import wording
from reports.document import Column, Table
from reports.gather import Gathered, MethodRecords
from sweep.spec import MethodSpec

ALWAYS = (
    "learning_rate",
    "num_train_epochs",
    "max_steps",
    "effective_batch_size",
    "lr_scheduler_type",
    "warmup_steps",
    "weight_decay",
    "optim",
    "lora_r",
    "lora_alpha",
    "lora_dropout",
    "lora_target_modules",
    "use_rslora",
    "use_dora",
    "load_in_4bit",
)
"""Settings that a reader asks for, searched or not."""


def settings_table(gathered: Gathered) -> Table:
    """One row a setting, one column a method; searched settings are marked."""
    methods = [method for method in gathered.methods if method.best is not None]
    settings = {method.name: _settings(method) for method in methods}
    searched = {method.name: _searched(method) for method in methods}
    leaves = sorted({leaf for names in searched.values() for leaf in names} - set(ALWAYS))
    rows = []
    for leaf in (*ALWAYS, *leaves):
        values = [settings[method.name].get(leaf) for method in methods]
        if all(value is None for value in values):
            continue
        marks = ["*" if leaf in searched[method.name] else "" for method in methods]
        rows.append([leaf, *(f"{wording.setting(value)}{mark}" for value, mark in zip(values, marks, strict=True))])
    chosen = [["trial", *(str(method.best.config.number) for method in methods if method.best is not None)]]
    columns = [Column("setting", "code"), *(Column(method.name, "number") for method in methods)]
    return Table(
        columns, chosen + rows, "Settings of the best trial of each method. * was searched; the rest was fixed."
    )


def leaf_of(name: str) -> str:
    """The last part of a dotted name: `methods.lora.peft.lora_r` is `lora_r`."""
    return name.rpartition(".")[2]


def _searched(method: MethodRecords) -> set[str]:
    return set() if method.best is None else {leaf_of(name) for name in method.best.config.params}


def _settings(method: MethodRecords) -> Mapping[str, object]:
    spec = None if method.best is None else method.best.config.method_spec
    return {} if spec is None else flat_settings(spec)


def flat_settings(spec: MethodSpec) -> dict[str, object]:
    """A method's settings by the last part of their names, which are all different."""
    adapter = {} if spec.peft is None else spec.peft.model_dump()
    return spec.training.model_dump() | adapter | {"load_in_4bit": spec.load_in_4bit}
