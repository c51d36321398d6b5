"""What a study file can have wrong, and the line that a person reads about it."""

import re
from dataclasses import dataclass
from pathlib import Path

import pytest

from sweep.errors import StudyFileError
from sweep.study_file import reader

HEAD = """\
name: tickets
model: {model_name_or_path: org/model}
data: {train: tickets.jsonl}
methods: [lora, qlora, full]
"""
"""A sound study of four lines: what is put after it begins on line 5."""


@dataclass(frozen=True)
class Wrong:
    """A broken file, and the one problem expected of it."""

    name: str
    text: str
    line: int | None
    says: str


def after_head(name: str, text: str, line: int, says: str) -> Wrong:
    return Wrong(name, HEAD + text, line, says)


def without(key: str, name: str, text: str, line: int | None, says: str) -> Wrong:
    """The head with one of its lines replaced by other text, at the end."""
    head = "".join(kept for kept in HEAD.splitlines(keepends=True) if not kept.startswith(f"{key}:"))
    return Wrong(name, head + text, line, says)


METHOD = "methods:\n  mine:\n    "

YAML_ITSELF = [
    Wrong("empty", "", None, "the file is empty."),
    Wrong("only comments", "# nothing\n", None, "the file is empty."),
    Wrong("a list", "- a\n- b\n", 1, "holds a list; a study is a mapping"),
    Wrong("plain text", "hello", 1, "a study is a mapping"),
    Wrong("tab", "name: x\nmodel:\n\tdtype: y\n", 3, "a tab is used"),
    Wrong("colon in text", "name: a: b\n", 1, "Check the indentation"),
    Wrong("open bracket", "name: [x\n", 2, "in brackets is not closed"),
    Wrong("open quotation", "name: 'x\nmodel: y\n", 3, "a quotation mark is not closed."),
    Wrong("odd indentation", "model:\n    dtype: x\n  revision: y\n", 3, "indentation does not line up"),
    Wrong("alias without anchor", "name: *x\n", 1, "an alias (*name) without its anchor"),
    Wrong("reserved character", "name: @x\n", 1, "Quote it."),
    Wrong("two documents", HEAD + "---\nname: y\n", 5, "a second document begins"),
    Wrong("control character", "name: x\nseed: \x07\n", 2, "a control character"),
    Wrong("deep nesting", "name: " + "[" * 1000, 1, "nested too deeply"),
    Wrong("a hundred thousand values", "name: [" + "1," * 100_000 + "]", None, "more than 20,000 values"),
    Wrong("alias within itself", "name: &a [*a]\n", 1, "nested too deeply"),
    after_head("duplicate key", "seed: 1\nname: x\n", 6, "duplicate key 'name'; it already stands on line 1."),
    after_head("tag", "seed: !!python/object:os.system 1\n", 5, "tag !!python/object:os.system is not allowed"),
    after_head("key that is a list", "? [a, b]\n: 1\n", 5, "a key must be plain text."),
    after_head("merge of a number", "training:\n  <<: 3\n", 6, "'<<' takes a mapping"),
]

VALUES = [
    after_head(
        "slip",
        "training:\n  lerning_rate: 1\n",
        6,
        "unknown key 'lerning_rate' in training. Did you mean 'learning_rate'?",
    ),
    after_head("slip at the top", "trainng: {}\n", 5, "unknown key 'trainng'. Did you mean 'training'?"),
    after_head("nobody's key", "zebra: 1\n", 5, "Allowed: name, model, data"),
    after_head("key of another section", "num_train_epochs: 1\n", 5, "Did you mean 'training.num_train_epochs'?"),
    after_head("habit: lr", "training: {lr: 1}\n", 5, "Did you mean 'learning_rate'?"),
    after_head("habit: epochs at the top", "epochs: 1\n", 5, "Did you mean 'training.num_train_epochs'?"),
    after_head("habit: batch_size", "training: {batch_size: 1}\n", 5, "Did you mean 'effective_batch_size'?"),
    after_head(
        "habit: warmup_ratio", "training: {warmup_ratio: 0.1}\n", 5, "Use warmup_steps: a share of all steps below 1."
    ),
    after_head("habit: accumulation", "training: {gradient_accumulation_steps: 4}\n", 5, "Set effective_batch_size;"),
    after_head("habit: bf16", "training: {bf16: true}\n", 5, "Set model.dtype: bfloat16."),
    without("methods", "habit: r", "methods: {lora: {peft: {r: 8}}}\n", 4, "Did you mean 'lora_r'?"),
    without("methods", "habit: rank", "methods: {lora: {peft: {lora_rank: 8}}}\n", 4, "Did you mean 'lora_r'?"),
    without(
        "methods",
        "habit: modules",
        "methods: {lora: {peft: {target_modules: x}}}\n",
        4,
        "Did you mean 'lora_target_modules'?",
    ),
    without(
        "methods",
        "adapter key beside peft",
        "methods: {lora: {lora_r: 8}}\n",
        4,
        "Did you mean 'methods.lora.peft.lora_r'?",
    ),
    without("model", "habit: model name", "model: {name: x}\n", 4, "Did you mean 'model_name_or_path'?"),
    without("name", "no name", "", 1, "name is missing; it must be a name of letters"),
    without("data", "no data", "", 1, "data is missing"),
    without("methods", "no methods", "", 1, "methods is missing"),
    without("model", "model without a name", "model:\n  dtype: float32\n", 4, "model.model_name_or_path is missing"),
    without("model", "model by name alone", "model: org/model\n", 4, "model is 'org/model'; it must be a mapping"),
    without("name", "name with a space", "name: my study\n", 4, "name is 'my study'; it must be a name of letters"),
    without("name", "name that is a number", "name: 2024\n", 4, "Quote it to make it text."),
    after_head("text for a number", "training: {learning_rate: fast}\n", 5, "is 'fast'; it must be a number above 0."),
    after_head("number in quotes", 'training: {learning_rate: "1e-5"}\n', 5, "Write the number without quotes."),
    after_head(
        "fraction for a whole number", "training: {max_length: 10.5}\n", 5, "it must be a whole number above 1."
    ),
    after_head("out of bounds", "training:\n  weight_decay: -1\n", 6, "is -1; it must be a number from 0 on."),
    after_head("infinite", "training: {max_grad_norm: .inf}\n", 5, "it must be a finite number."),
    after_head("too large", f"seed: {2**70}\n", 5, "is too large"),
    after_head("large seed", f"seed: {2**40}\n", 5, f"it must be at most {2**32 - 1}."),
    after_head("yes for true", "tracking: {mlflow: yes}\n", 5, "is 'yes'; it must be true or false."),
    after_head("1 for true", "tracking: {mlflow: 1}\n", 5, "is 1; it must be true or false."),
    after_head("empty value", "training:\n  learning_rate:\n", 6, "is empty; it must be a number above 0."),
    without("methods", "method as a word", "methods: lora\n", 4, "Write [lora]."),
    without("data", "data by name alone", "data: x.jsonl\n", 4, "Write data: {train: x.jsonl}."),
    without("name", "misspelled name", "nam: x\n", 4, "unknown key 'nam'. Did you mean 'name'?"),
    after_head("task as a word", "evaluation: {search: own}\n", 5, "Write [own]."),
    after_head("list for a mapping", "training: [1]\n", 5, "training is a list; it must be a mapping"),
    after_head("mapping for a list", "evaluation: {search: {task: own}}\n", 5, "is a mapping; it must be a list."),
    after_head(
        "other word for a choice",
        "sampler:\n  name: bayesian\n",
        6,
        "sampler.name is 'bayesian'; it must be 'gp', 'tpe', 'random', 'grid', 'qmc' or 'cmaes'. Did you mean 'gp'?",
    ),
    without("model", "bf16 as dtype", "model: {model_name_or_path: x, dtype: bf16}\n", 4, "Did you mean 'bfloat16'?"),
    after_head(
        "task without a name", "evaluation:\n  search:\n    - limit: 3\n", 7, "evaluation.search[0].task is missing"
    ),
    without(
        "data", "share that is a list", "data: {train: tickets.jsonl, test: [1]}\n", 4, "it must be a number or text."
    ),
    without(
        "methods", "methods as a number", "methods: 3\n", 4, "methods is 3; it must be a list of methods, or a mapping"
    ),
    without("methods", "no method", "methods: []\n", 4, "methods is an empty list"),
    without("methods", "method twice", "methods: [lora, lora]\n", 4, "method 'lora' is listed twice."),
    without(
        "methods", "settings in a list", "methods:\n  - lora\n  - full: {}\n", 6, "a list of methods holds names only."
    ),
    without(
        "methods", "name of a method", "methods:\n  lora: {}\n  lo ra: {kind: lora}\n", 6, "'lo ra' cannot be a name"
    ),
]

METHODS = [
    without("methods", "no kind", METHOD + "training: {weight_decay: 0.1}\n", 5, "methods.mine.kind is missing"),
    without(
        "methods", "reserved name", "methods: {baseline: {kind: lora}}\n", 4, "a method cannot be named 'baseline'"
    ),
    without(
        "methods",
        "name within a name",
        "methods:\n  lora: {}\n  lora.b: {kind: lora}\n",
        6,
        "begins with 'lora' and a dot",
    ),
    without(
        "methods", "adapter of full", "methods:\n  full:\n    peft: {lora_r: 8}\n", 6, "full fine-tuning has no adapter"
    ),
    without(
        "methods", "4-bit full", "methods:\n  full:\n    load_in_4bit: true\n", 6, "4-bit weights cannot be trained"
    ),
    without("methods", "4-bit lora", "methods:\n  lora:\n    load_in_4bit: true\n", 6, "say kind: qlora"),
    without("methods", "16-bit qlora", "methods:\n  qlora:\n    load_in_4bit: false\n", 6, "say kind: lora"),
    without(
        "methods", "quantized lora", "methods:\n  lora:\n    quantization: {}\n", 6, "only qlora has a quantized base"
    ),
    without(
        "methods",
        "pissa in 4 bits",
        METHOD + "kind: qlora\n    peft:\n      init_lora_weights: pissa\n",
        8,
        "fit the 4-bit base",
    ),
    without(
        "methods",
        "orthogonal at an odd rank",
        METHOD + "kind: lora\n    peft: {init_lora_weights: orthogonal}\nsearch_space:\n"
        "  methods.mine.peft.lora_r: {values: [8, 9]}\n",
        7,
        "needs an even lora_r, and 9 is odd",
    ),
    without(
        "methods", "no modules", METHOD + "peft:\n      lora_target_modules: []\n", 7, "lora_target_modules is empty"
    ),
    after_head(
        "uneven batch",
        "training:\n  per_device_train_batch_size: 3\n  effective_batch_size: 16\n",
        7,
        "effective_batch_size 16 is no multiple of per_device_train_batch_size 3",
    ),
    after_head(
        "uneven parts of a batch",
        "training:\n  num_processes: 3\n",
        6,
        "effective_batch_size 16 is no multiple of num_processes 3",
    ),
    after_head(
        "uneven batch of each process",
        "training:\n  num_processes: 2\n  per_device_train_batch_size: 3\n",
        5,
        "effective_batch_size 16 is no multiple of per_device_train_batch_size 3 in each of 2 processes",
    ),
    after_head(
        "optimizer of whole weights",
        "training:\n  num_processes: 2\n  optim: adamw_8bit\n",
        6,
        "optim 'adamw_8bit' cannot step weights that are divided among 2 processes",
    ),
    after_head(
        "searched processes",
        "search_space:\n  training.num_processes: {values: [1, 2]}\n",
        6,
        "as many devices as a method needs",
    ),
    after_head(
        "uneven searched batch",
        "search_space:\n  training.effective_batch_size: {min: 8, max: 16}\n",
        6,
        "effective_batch_size 9 is no multiple of per_device_train_batch_size 4",
    ),
    without(
        "methods",
        "own length",
        METHOD + "kind: lora\n    training: {max_length: 99}\n",
        7,
        "every method reads the same rows",
    ),
    after_head("optimizer", "training: {optim: adamw}\n", 5, "unknown optimizer 'adamw'. Did you mean 'adamw_torch'?"),
    after_head(
        "schedule argument", "training:\n  lr_scheduler_kwargs: {min_lr: 0}\n", 6, "does not take; allowed: num_cycles."
    ),
]

SEARCH = [
    ("unknown", "training.lerning_rate: {values: [1.0]}", "Did you mean 'training.learning_rate'?"),
    ("habit", "methods.lora.peft.lora_rank: {values: [1]}", "Did you mean 'methods.lora.peft.lora_r'?"),
    ("shortened", "lora_r: {values: [8]}", "Did you mean 'methods.lora.peft.lora_r'?"),
    ("shortened rate", "learning_rate: {values: [8.0]}", "Did you mean 'training.learning_rate'?"),
    ("section missing", "methods.qlora.lora_r: {values: [8]}", "Did you mean 'methods.qlora.peft.lora_r'?"),
    ("advice", "training.warmup_ratio: {values: [0.1]}", "Use warmup_steps"),
    ("unknown method", "methods.loraa.peft.lora_r: {values: [8]}", "Did you mean 'methods.lora.peft.lora_r'?"),
    ("far-off", "zebra: {values: [8]}", "Allowed: training.KEY"),
    ("a section", "methods.lora.peft: {values: [8]}", "unknown search dimension 'methods.lora.peft'."),
    ("the model", "model.dtype: {values: [float16]}", "could not be compared"),
    ("the data", "data.max_rows: {values: [8]}", "could not be compared"),
    ("the evaluation", "evaluation.scoring.batch_size: {values: [8]}", "could not be compared"),
    ("the budget", "budget.confirm_seeds: {values: [8]}", "could not be compared"),
    ("the rows' length", "training.max_length: {values: [8]}", "reads the same rows."),
    ("a method's length", "methods.lora.training.max_length: {values: [8]}", "reads the same rows."),
    ("the rungs", "training.validations: {values: [8]}", "the pruner compares trials at the same rungs."),
    ("the kind", "methods.lora.kind: {values: [lora]}", "it makes another method"),
    ("an adapter of full", "methods.full.peft.lora_r: {values: [8]}", "full fine-tuning has no adapter."),
    ("a quantized lora", "methods.lora.quantization.bnb_4bit_quant_type: {values: [nf4]}", "only qlora"),
    ("nothing", "training.learning_rate: {}", "must have values, or both min and max."),
    ("half a range", "training.learning_rate: {min: 1.0e-5}", "must have values, or both min and max."),
    ("values and range", "training.learning_rate: {values: [1.0], min: 0.1, max: 1.0}", "keep one of them."),
    ("no values", "training.learning_rate: {values: []}", "is an empty list; it must be a list of at least 1"),
    ("a value twice", "training.learning_rate: {values: [1.0, 1.0]}", "values holds 1.0 twice."),
    ("ends swapped", "training.learning_rate: {min: 1.0e-3, max: 1.0e-5}", "min 0.001 is not below max 1e-05."),
    ("log from 0", "training.weight_decay: {min: 0.0, max: 1.0, log: true}", "a log range starts above 0"),
    ("log with step", "training.learning_rate: {min: 0.1, max: 1.0, log: true, step: 0.1}", "has no step"),
    ("wide step", "training.learning_rate: {min: 0.1, max: 1.0, step: 5}", "wider than the range"),
    ("rank of 0", "methods.lora.peft.lora_r: {values: [8, 0]}", "is 0 here; it must be a whole number above 0."),
    ("rank in words", "methods.lora.peft.lora_r: {values: [eight]}", "is 'eight' here; it must be a whole number"),
    ("rank as a fraction", "methods.lora.peft.lora_r: {min: 8.0, max: 64.0}", "is 8.0 here; it must be a whole"),
    ("rank in half steps", "methods.lora.peft.lora_r: {min: 8, max: 64, step: 0.5}", "it must be a whole number"),
    ("dropout of 1.2", "methods.lora.peft.lora_dropout: {min: 0.0, max: 1.2}", "is 1.2 here; it must be a number"),
    ("range of words", "training.optim: {min: 1, max: 2}", "it must be text."),
    ("range of choices", "training.lr_scheduler_type: {values: [cosin]}", "is 'cosin' here; it must be 'constant'"),
    ("0 to 1", "training.weight_decay: {min: 0, max: 1}", "write 0.0 and 1.0"),
    ("choices in a list", "training.learning_rate: [0.1, 0.2]", "Write the choices as {values: [...]}."),
    ("habit in a dimension", "training.weight_decay: {low: 0.0, high: 1.0}", "Did you mean 'min'?"),
]

SAMPLING = [
    after_head("grid of a range", "sampler: {name: grid}\n", 5, "is a range without step"),
    after_head(
        "cmaes without a range",
        "sampler: {name: cmaes}\nsearch_space: {training.learning_rate: {values: [0.1, 0.2]}}\n",
        5,
        "sampler cmaes needs a range",
    ),
    after_head("point of no method", "starting_points:\n  lor: []\n", 6, "Did you mean 'lora'?"),
    after_head(
        "point that is not searched",
        "starting_points:\n  lora:\n    - {methods.lora.peft.lora_alpha: 8}\n",
        7,
        "'methods.lora.peft.lora_alpha' is not searched for this method.",
    ),
    after_head(
        "point outside",
        "starting_points:\n  lora:\n    - methods.lora.peft.lora_r: 7\n",
        7,
        "lies outside its search space.",
    ),
    after_head(
        "point between steps",
        "search_space:\n  training.num_train_epochs: {min: 1, max: 5, step: 2}\n"
        "starting_points:\n  full:\n  - training.num_train_epochs: 2\n",
        9,
        "lies outside its search space.",
    ),
]

DATA_AND_SCORES = [
    without("data", "no such file", "data:\n  train: ticket.jsonl\n", 5, "no file 'ticket.jsonl' in "),
    without("data", "similar file", "data: {train: ticket.jsonl}\n", 4, "Did you mean 'tickets.jsonl'?"),
    without("data", "missing test file", "data:\n  train: tickets.jsonl\n  test: t.csv\n", 6, "no file 't.csv'"),
    without("data", "unknown type", "data: {train: tickets.xlsx}\n", 4, "allowed types are .json, .jsonl"),
    without("data", "a directory", "data: {train: ./}\n", 4, "is a directory"),
    without("data", "empty train", 'data: {train: ""}\n', 4, "data.train is empty"),
    without("data", "share of 0", "data: {train: tickets.jsonl, test: 0}\n", 4, "a share above 0 and below 1"),
    without("data", "share of 1", "data: {train: tickets.jsonl, validation: 1}\n", 4, "a share above 0 and below 1"),
    without(
        "data",
        "all held out",
        "data: {train: tickets.jsonl, validation: 0.5, test: 0.5}\n",
        4,
        "leave some to train on.",
    ),
    without(
        "model", "remote code", "model: {model_name_or_path: x, trust_remote_code: true}\n", 4, "set model.revision"
    ),
    without("model", "empty model", 'model: {model_name_or_path: " "}\n', 4, "model.model_name_or_path is empty"),
    after_head("both directions", "objective: {maximize: own/accuracy, minimize: own/loss}\n", 5, "keep one."),
    after_head("no metric", "objective: {maximize: accuracy}\n", 5, "write task/metric, such as own/loss."),
    after_head("unscored task", "objective: {maximize: mmlu/acc}\n", 5, "evaluation.search does not score 'mmlu'"),
    after_head("unscored own", "evaluation:\n  search: [mmlu]\n", 6, "evaluation.search does not score 'own'"),
    after_head("unknown own metric", "objective: {maximize: own/exactmatch}\n", 5, "Did you mean 'own/exact_match'?"),
    after_head("wrong direction", "objective: {maximize: own/loss}\n", 5, "write minimize: own/loss."),
    after_head(
        "metric without answers",
        "evaluation: {search: [{task: own, generate: false}]}\nobjective: {maximize: own/exact_match}\n",
        6,
        "needs generated answers",
    ),
    after_head("task twice", "evaluation:\n  confirm:\n  - own\n  - own\n", 8, "lists 'own' twice"),
    after_head("no task", "evaluation:\n  confirm: []\n", 6, "list at least one task"),
    after_head("few-shot own", "evaluation: {confirm: [{task: own, num_fewshot: 2}]}\n", 5, "own takes no num_fewshot"),
]

GRADING = [
    without("data", name, f"data:\n  train: tickets.jsonl\n{text}", line, says)
    for name, text, line, says in (
        ("schema of text", "  answer: text\n  json_schema: {type: object}\n", 7, "data.answer is text; keep one"),
        (
            "tables of labels",
            "  answer: label\n  sql_schema: context\n",
            7,
            "data.sql_schema is for answers of type sql",
        ),
        ("both schemas", "  json_schema: {}\n  sql_schema: context\n", 7, "answers are one or the other."),
        ("written labels of JSON", "  answer: json\n  label_by: generation\n", 7, "data.label_by is for answers"),
        ("way to score labels", "  label_by: likelyhood\n", 6, "Did you mean 'likelihood'?"),
        (
            "keyword of a schema",
            "  json_schema:\n    properties:\n      city:\n        typ: string\n",
            9,
            "data.json_schema: unknown keyword 'typ'.",
        ),
        ("number for a schema", "  json_schema: 3\n", 6, "data.json_schema is 3; it must be text or a mapping"),
        ("schema file", "  json_schema: ticket.json\n", 6, "ticket.json: no JSON schema can be read"),
        ("schema file of rows", "  json_schema: tickets.jsonl\n", 6, "tickets.jsonl: prompt: unknown keyword"),
        ("file of tables", "  answer: sql\n  sql_schema: tables.sql\n", 7, "no file 'tables.sql' in "),
        ("grader by dots", "  grader: grader.grade\n", 6, "write file.py:function, such as grader.py:grade."),
        ("no grader", "  grader: none.py:grade\n", 6, "data.grader: none.py cannot be read"),
        ("grader elsewhere", "  grader: ../grader.py:grade\n", 6, "outside the study's directory; copy it there."),
        ("grader's function", "  grader: grader.py:grad\n", 6, "defines no function 'grad'; it defines grade."),
    )
] + [
    without(
        "data",
        "labels by likelihood without answers",
        "data: {train: tickets.jsonl, answer: label, label_by: generation}\n"
        "evaluation: {search: [{task: own, generate: false}]}\nobjective: {maximize: own/accuracy}\n",
        6,
        "needs generated answers",
    ),
    after_head("field's metric", "objective: {minimize: own/field_f1/city}\n", 5, "write maximize: own/field_f1/city."),
    after_head("grader's metric without one", "objective: {maximize: own/polite}\n", 5, "own has no metric 'polite'"),
]

JUDGE = "evaluation: {search: [judge_pairs, own], scoring: {judge: {base_url: 'http://localhost:1', model: m}}}\n"

JUDGED = [
    after_head(
        "no judge",
        "evaluation: {confirm: [judge_score]}\n",
        5,
        "judge_score needs a judge; set evaluation.",
    ),
    after_head(
        "judged with shots",
        "evaluation:\n  confirm:\n    - {task: judge_score, num_fewshot: 2}\n"
        "  scoring: {judge: {base_url: 'http://localhost:1', model: m}}\n",
        7,
        "judge_score takes no num_fewshot",
    ),
    after_head(
        "metric of another judged task",
        JUDGE + "objective: {maximize: judge_pairs/score}\n",
        6,
        "judge_pairs has no metric 'score'; it has win_rate, judge_error.",
    ),
    after_head(
        "win rate minimized",
        JUDGE + "objective: {minimize: judge_pairs/win_rate}\n",
        6,
        "objective judge_pairs/win_rate is better the other way; write maximize: judge_pairs/win_rate.",
    ),
]

BUDGETS = [
    after_head("no bound", "budget: {trials_per_method: null}\n", 5, "budget bounds no search; set one of trials_per_"),
    after_head("no trials", "budget: {trials_per_method: 0}\n", 5, "it must be a whole number above 0"),
    after_head("no tokens", "budget: {tokens_per_method: 0}\n", 5, "it must be a whole number above 0"),
    after_head("hours of none", "budget: {device_hours_per_method: -1}\n", 5, "it must be a number above 0"),
    after_head("hours by another name", "budget: {gpu_hours: 3}\n", 5, "Did you mean 'device_hours_per_method'?"),
    after_head("tokens by another name", "budget: {tokens: 3}\n", 5, "Did you mean 'tokens_per_method'?"),
    after_head(
        "one trial takes all",
        "budget:\n  device_hours_per_method: 0.5\n  trial_minutes: 30\n",
        7,
        "one trial may take all. Give the method more hours, or a trial fewer minutes.",
    ),
    after_head(
        "portion",
        "evaluation:\n  search: [{task: mmlu, portion: {part: search, search: 3}}]\nobjective: {maximize: mmlu/acc}\n",
        6,
        "portion is set by the study itself",
    ),
    after_head("text file", "evaluation: {general_text: prose.txt}\n", 5, "prose.txt: cannot be read: No such file"),
    after_head(
        "few-shot text", "evaluation: {confirm: [{task: general_text, num_fewshot: 2}]}\n", 5, "takes no num_fewshot"
    ),
]

SEARCHED = [after_head(name, f"search_space:\n  {text}\n", 6, says) for name, text, says in SEARCH]
TABLE = [*YAML_ITSELF, *VALUES, *METHODS, *SEARCHED, *SAMPLING, *DATA_AND_SCORES, *GRADING, *JUDGED, *BUDGETS]


def problems_of(folder: Path, content: str | bytes, *overrides: str) -> StudyFileError:
    (folder / "tickets.jsonl").write_text('{"prompt": "a", "completion": "b"}\n')
    (folder / "grader.py").write_text("def grade(prompt, answer, target): ...\n")
    path = folder / "study.yaml"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    with pytest.raises(StudyFileError) as caught:
        reader.load(path, overrides)
    return caught.value


@pytest.mark.parametrize("wrong", TABLE, ids=lambda wrong: wrong.name)
def test_a_broken_file_is_answered_with_one_clear_line(wrong: Wrong, tmp_path: Path) -> None:
    error = problems_of(tmp_path, wrong.text)

    messages = [str(problem) for problem in error.problems]
    said = [problem for problem in error.problems if wrong.says in problem.message]
    assert said, messages
    assert [problem.line for problem in said] == [wrong.line] * len(said), messages
    assert all(re.fullmatch(r"[^\n]+[.?]", message) for message in messages), messages
    # A habit may break several keys of one mapping; nothing else echoes.
    assert len({problem.line for problem in error.problems}) == 1, messages


def test_the_sound_head_of_the_table_loads(tmp_path: Path) -> None:
    (tmp_path / "tickets.jsonl").touch()
    (tmp_path / "study.yaml").write_text(HEAD)

    assert list(reader.load(tmp_path / "study.yaml").methods) == ["lora", "qlora", "full"]


def test_metrics_of_fields_and_of_a_grader_can_be_optimized(tmp_path: Path) -> None:
    (tmp_path / "tickets.jsonl").touch()
    (tmp_path / "grader.py").write_text("def grade(prompt, answer, target): ...\n")
    for line, grading in (("own/field_f1/city", ""), ("own/polite", ", grader: grader.py:grade")):
        text = HEAD.replace("tickets.jsonl", "tickets.jsonl" + grading) + f"objective: {{maximize: {line}}}\n"
        (tmp_path / "study.yaml").write_text(text)

        assert reader.load(tmp_path / "study.yaml").objective.metric == line


def test_every_problem_is_reported_at_once_and_in_order(tmp_path: Path) -> None:
    text = """\
name: tickets
model: {model_name_or_path: x, dtype: bf16}
data: {train: missing.jsonl, validation: 2}
methods:
  lora: {load_in_4bit: true}
  full: {peft: {lora_r: 8}}
trainig: {}
training: {learning_rate: fast}
search_space:
  methods.lora.peft.lora_rank: {values: [8]}
objective: {maximize: mmlu/acc}
seed: 1
seed: 2
"""
    error = problems_of(tmp_path, text)

    assert [problem.line for problem in error.problems] == [2, 3, 3, 5, 6, 7, 8, 10, 11, 13]


def test_a_problem_is_not_reported_again_as_its_echo(tmp_path: Path) -> None:
    slip_in_batch = HEAD + "training: {per_device_train_batch_size: 3, efective_batch_size: 24}\n"
    broken_tasks = HEAD + "evaluation: {search: [{tsk: mmlu}]}\nobjective: {maximize: mmlu/acc}\n"
    broken_methods = HEAD.replace("[lora, qlora, full]", "3") + "search_space: {methods.x.peft.lora_r: {values: [8]}}\n"

    assert ["efective_batch_size" in str(problem) for problem in problems_of(tmp_path, slip_in_batch).problems] == [
        True
    ]
    assert all("evaluation.search[0]" in str(problem) for problem in problems_of(tmp_path, broken_tasks).problems)
    assert ["methods is 3" in str(problem) for problem in problems_of(tmp_path, broken_methods).problems] == [True]


def test_a_judged_metric_may_be_the_objective(tmp_path: Path) -> None:
    (tmp_path / "tickets.jsonl").touch()
    path = tmp_path / "study.yaml"
    path.write_text(HEAD + JUDGE + "objective: {maximize: judge_pairs/win_rate}\n")

    assert reader.load(path).objective.metric == "judge_pairs/win_rate"


def test_a_searched_key_is_judged_whatever_its_values_are(tmp_path: Path) -> None:
    error = problems_of(tmp_path, HEAD + "search_space:\n  lr: [1, 2]\n")

    assert ["is a list" in str(error), "Did you mean 'training.learning_rate'?" in str(error)] == [True, True]


def test_nested_aliases_that_stand_for_billions_of_values_are_refused(tmp_path: Path) -> None:
    lists = "".join(f"k{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 12))
    merges = "".join(f"k{n}: &a{n}\n  <<: [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 12))

    assert "aliases" in str(problems_of(tmp_path, f"k0: &a0 [1, 1]\n{lists}"))
    assert "aliases" in str(problems_of(tmp_path, f"k0: &a0 {{x: 1}}\n{merges}"))


def test_a_file_in_another_encoding_is_refused_with_its_line(tmp_path: Path) -> None:
    error = problems_of(tmp_path, "name: tickets\n# für\n".encode("latin-1"))

    assert str(error).endswith("study.yaml:2: not UTF-8 text. Save the file as UTF-8.")
    assert "not UTF-8" in str(problems_of(tmp_path, HEAD.encode("utf-16")))


def test_a_file_larger_than_any_study_is_not_read(tmp_path: Path) -> None:
    assert "larger than 256 KiB" in str(problems_of(tmp_path, "# x\n" * 100_000))


def test_half_a_character_is_refused(tmp_path: Path) -> None:
    assert "half a character" in str(problems_of(tmp_path, HEAD + 'storage: "\\ud800"\n'))


def test_a_path_that_is_no_file_is_refused_in_one_line(tmp_path: Path) -> None:
    for path, says in ((tmp_path / "none.yaml", "no such file"), (tmp_path, "this is a directory")):
        with pytest.raises(StudyFileError, match=says) as caught:
            reader.load(path)

        assert len(caught.value.problems) == 1


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("training.lr=3", "--set training.lr=3: unknown key 'lr' in training. Did you mean 'learning_rate'?"),
        ("seed", "--set seed: an override is written a.b=c"),
        ("=3", "an override is written a.b=c"),
        ("a..b=3", "an override is written a.b=c"),
        ("seed=[1", "--set seed=[1: not YAML"),
        ("seed=x", "--set seed=x: seed is 'x'; it must be a whole number from 0 on."),
        ("seed.x=1", "--set seed.x=1: seed is no mapping, so 'x' cannot be set in it."),
        ("evaluation.confirm.7=own", "evaluation.confirm is a list, so '7' cannot be set in it."),
        ("search_space.training.lr={values: [1.0]}", "Did you mean 'training.learning_rate'?"),
        ("data.train=none.jsonl", "--set data.train=none.jsonl: data.train: no file 'none.jsonl'"),
        ("training={a: 1, a: 2}", "--set training={a: 1, a: 2}: duplicate key 'a'"),
    ],
)
def test_a_bad_override_is_named_as_it_was_written(override: str, says: str, tmp_path: Path) -> None:
    error = problems_of(tmp_path, HEAD + "seed: 1\nevaluation: {confirm: [own]}\n", override)

    assert says in str(error)
    assert all(problem.line is None for problem in error.problems)
