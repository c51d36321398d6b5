"""Files that nobody should give, and how each is made."""

import json
import os
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

HEAD = "name: bad\nmodel: {model_name_or_path: nobody/nothing}\n"
STUDY = HEAD + "data: {train: rows.jsonl}\nmethods: [lora]\n"
ROW = '{"prompt": "1 + 1 =", "completion": " 2"}\n'
ROWS = ROW * 20
DEEP = 100_000


def written(**files: str | bytes) -> Callable[[Path], None]:
    """Write files, `rows_jsonl` for `rows.jsonl`, beside a study and rows that are right."""

    def make(directory: Path) -> None:
        (directory / "study.yaml").write_text(STUDY)
        (directory / "rows.jsonl").write_text(ROWS)
        for name, content in files.items():
            path = directory / name.replace("_", ".")
            path.write_bytes(content if isinstance(content, bytes) else content.encode())

    return make


def study(text: str | bytes) -> Callable[[Path], None]:
    """A study file, beside rows that are right."""
    return written(study_yaml=text)


def rows(name: str, content: str | bytes) -> Callable[[Path], None]:
    """A data file, and a study that is right and names it."""
    return written(study_yaml=STUDY.replace("rows.jsonl", name), **{name.replace(".", "_"): content})


def value(key: str, text: str) -> Callable[[Path], None]:
    """A study that is right but for one more line."""
    return study(f"{STUDY}{key}: {text}\n")


def data(text: str) -> Callable[[Path], None]:
    """A study with another `data` section."""
    return study(f"{HEAD}data: {text}\nmethods: [lora]\n")


def billion_laughs() -> str:
    """Nine lines that stand for a billion words."""
    lines = ["a0: &a0 [lol, lol, lol, lol, lol, lol, lol, lol, lol, lol]"]
    lines += [f"a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * 10)}]" for level in range(1, 10)]
    return "\n".join(lines) + "\n"


def linked(target: str) -> Callable[[Path], None]:
    """Rows that are a link to somewhere else."""

    def make(directory: Path) -> None:
        study(STUDY)(directory)
        (directory / "rows.jsonl").unlink()
        (directory / "rows.jsonl").symlink_to(target)

    return make


def piped(directory: Path) -> None:
    """Rows that are a pipe which nobody writes to."""
    study(STUDY)(directory)
    (directory / "rows.jsonl").unlink()
    os.mkfifo(directory / "rows.jsonl")


def parquet_bomb(directory: Path) -> None:
    """Half a million copies of a text of a megabyte, in a few kilobytes."""
    import pyarrow as pa
    from pyarrow import parquet

    study(STUDY.replace("rows.jsonl", "rows.parquet"))(directory)
    texts = pa.DictionaryArray.from_arrays(pa.array([0] * 500_000, pa.int32()), pa.array(["a" * 2**20]))
    table = pa.table({"prompt": texts, "completion": texts})
    parquet.write_table(table, directory / "rows.parquet", compression="zstd")


def parquet_of_rows() -> bytes:
    """A Parquet file of a hundred rows."""
    import pyarrow as pa
    from pyarrow import parquet

    sink = pa.BufferOutputStream()
    parquet.write_table(pa.table({"prompt": ["1"] * 100, "completion": ["2"] * 100}), sink)
    return bytes(sink.getvalue().to_pybytes())


def cut_parquet(directory: Path) -> None:
    """A Parquet file without its end."""
    rows("rows.parquet", parquet_of_rows()[:-100])(directory)


def lying_parquet(directory: Path) -> None:
    """A Parquet file whose footer is said to be two gigabytes."""
    rows("rows.parquet", parquet_of_rows()[:-8] + struct.pack("<I", 2**31 - 1) + b"PAR1")(directory)


def zipped() -> bytes:
    """An archive that would unpack to a gigabyte, were it opened."""
    import io

    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED) as archive:
        # The time of day would be in it otherwise.
        entry = zipfile.ZipInfo("../../rows.jsonl", (2026, 1, 2, 3, 4, 6))
        archive.writestr(entry, ROW * 100_000, compress_type=zipfile.ZIP_DEFLATED)
    return sink.getvalue()


def grader(text: str, function: str = "grade") -> Callable[[Path], None]:
    """A study with a grader of its own."""
    return written(study_yaml=STUDY.replace("rows.jsonl}", f"rows.jsonl, grader: 'g.py:{function}'}}"), g_py=text)


def sql(schema: str) -> Callable[[Path], None]:
    """A study whose answers are SQL over the tables of a file."""
    return written(study_yaml=STUDY.replace("rows.jsonl}", "rows.jsonl, answer: sql, sql_schema: s.sql}"), s_sql=schema)


def run(**changes: str | bytes) -> Callable[[Path], None]:
    """A finished run, some of whose files somebody has written anew."""

    def make(directory: Path) -> None:
        from reported_run import build_run, toy_study

        spec = toy_study(("lora",), trials=2, seeds=1)
        built = build_run(directory, spec)
        names = {
            "study": built.study_file,
            "record": built.search_trial("lora", 0).record,
            "baseline": built.confirm_baseline.record,
            "steps": built.search_trial("lora", 0).steps,
            "environment": built.environment,
            "config": built.search_trial("lora", 0).config,
            "openings": built.test_openings,
        }
        for name, content in changes.items():
            names[name].write_bytes(content if isinstance(content, bytes) else content.encode())

    return make


def endless(device: str | None = None) -> Callable[[Path], None]:
    """A finished run with a record that nobody can read to its end: a pipe, or a device."""

    def make(directory: Path) -> None:
        run()(directory)
        path = directory / "runs" / "tickets" / "search" / "lora" / "0000" / "record.json"
        path.unlink()
        os.mkfifo(path) if device is None else path.symlink_to(device)

    return make


def linked_report(directory: Path) -> None:
    """A finished run whose report would be written elsewhere, where somebody has figures of their own."""
    run()(directory)
    (directory / "paper" / "figures").mkdir(parents=True)
    (directory / "runs" / "tickets" / "report").symlink_to(directory / "paper")


def unwritten(name: str, section: str) -> Callable[[Path], None]:
    """A study that names a pipe which nobody writes to."""

    def make(directory: Path) -> None:
        study(STUDY.replace("rows.jsonl}", f"{section}}}"))(directory)
        os.mkfifo(directory / name)

    return make


def renamed_answers(directory: Path) -> None:
    """A record that calls a file elsewhere its answers."""
    run()(directory)
    (directory / "secret.jsonl").write_text('{"doc_id": 0, "doc": {"prompt": "the secret"}}\n')
    path = directory / "runs" / "tickets" / "confirm" / "baseline" / "record.json"
    record = json.loads(path.read_text())
    record["evaluation"]["samples"] = {"own": "../../../../../secret.jsonl"}
    path.write_text(json.dumps(record))


def scores(results: str, samples: str = "") -> Callable[[Path], None]:
    """Two directories as lm-evaluation-harness writes them, the second one amiss."""
    stamp = "2026-01-02T03-04-05.000000"
    sample = {
        "doc_id": 0, "doc": {}, "target": "1", "arguments": {}, "resps": [["1"]], "filtered_resps": ["1"],
        "filter": "none", "metrics": ["acc"], "doc_hash": "h", "prompt_hash": "p", "target_hash": "t", "acc": 1.0,
    }  # fmt: skip
    good = {"results": {"toy": {"acc,none": 1.0}}, "higher_is_better": {"toy": {"acc": True}}}

    def make(directory: Path) -> None:
        for name, told, answers in (
            ("good", json.dumps(good), json.dumps(sample)),
            ("bad", results or json.dumps(good), samples or json.dumps(sample)),
        ):
            (directory / name).mkdir()
            (directory / name / f"results_{stamp}.json").write_text(told)
            (directory / name / f"samples_toy_{stamp}.jsonl").write_text(answers + "\n")

    return make


def empty_scores(directory: Path) -> None:
    """Two directories without anything."""
    for name in ("good", "bad"):
        (directory / name).mkdir()


def tiny(directory: Path) -> Path:
    """A real model of two layers."""
    import torch
    from toy_tokenizer import byte_tokenizer
    from transformers import LlamaConfig, LlamaForCausalLM

    place = directory / "model"
    tokenizer = byte_tokenizer()
    tokenizer.save_pretrained(place)
    torch.manual_seed(0)
    shape = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    LlamaForCausalLM(LlamaConfig(vocab_size=len(tokenizer), **shape)).save_pretrained(place)
    return place


def pickled_model(directory: Path) -> None:
    """Weights as a pickle."""
    import torch

    place = tiny(directory)
    (place / "model.safetensors").unlink()
    torch.save({}, place / "pytorch_model.bin")


def pickled_adapter(directory: Path) -> None:
    """An adapter whose weights are a pickle."""
    import torch

    tiny(directory)
    place = directory / "adapter"
    place.mkdir()
    (place / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "r": 2, "target_modules": ["q_proj"]}))
    torch.save({}, place / "adapter_model.bin")


def coded_model(directory: Path) -> None:
    """A model that brings Python code."""
    place = tiny(directory)
    (place / "own.py").write_text("open('sprung', 'w')\nclass Own: ...\n")
    settings = json.loads((place / "config.json").read_text())
    own = {"AutoConfig": "own.Own", "AutoModelForCausalLM": "own.Own"}
    (place / "config.json").write_text(json.dumps({**settings, "model_type": "of_its_own", "auto_map": own}))


def broken_weights(content: bytes) -> Callable[[Path], None]:
    """A model whose weights are other bytes."""

    def make(directory: Path) -> None:
        (tiny(directory) / "model.safetensors").write_bytes(content)

    return make


def templated(template: str) -> Callable[[Path], None]:
    """A study over a model with another chat template."""

    def make(directory: Path) -> None:
        (tiny(directory) / "chat_template.jinja").write_text(template)
        study(STUDY.replace("nobody/nothing", "./model") + "tracking: {mlflow: false}\n")(directory)
        lines = [ROW.replace("1 + 1", f"{number} + 1") for number in range(80)]
        (directory / "rows.jsonl").write_text("".join(lines))

    return make
