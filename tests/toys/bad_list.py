"""Inputs that nobody should give: each with the command that it is given to, and the exit code that it deserves."""

import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from bad_files import (
    DEEP,
    ROWS,
    STUDY,
    billion_laughs,
    broken_weights,
    coded_model,
    cut_parquet,
    data,
    empty_scores,
    endless,
    grader,
    linked,
    linked_report,
    lying_parquet,
    parquet_bomb,
    pickled_adapter,
    pickled_model,
    piped,
    renamed_answers,
    rows,
    run,
    scores,
    sql,
    study,
    templated,
    unwritten,
    value,
    written,
    zipped,
)

CHECK = ("check", "study.yaml")
INPUT_IS_WRONG = 2
COUNTING = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"
ESCAPING = "{{ cycler.__init__.__globals__.os.system('touch sprung') }}"
CIRCLE = "{$ref: '#/$defs/a', $defs: {a: {$ref: '#/$defs/a'}}}"
DOUBLED = ", ".join(
    f"d{one}: {{allOf: [{{$ref: '#/$defs/d{one + 1}'}}, {{$ref: '#/$defs/d{one + 1}'}}]}}" for one in range(40)
)
DOUBLING = f"{{$ref: '#/$defs/d0', $defs: {{{DOUBLED}, d40: {{}}}}}}"
TAGGED = "!!python/object/apply:os.system ['touch sprung']\n"
TRAIN = ("run", "study.yaml", "--cache", "cache")


@dataclass(frozen=True)
class Bad:
    """One bad input."""

    given: str
    """What it is, for a person."""
    make: Callable[[Path], None]
    """Makes it in an empty directory."""
    command: Sequence[str] = CHECK
    code: int = INPUT_IS_WRONG


EVAL = ("eval", "./model", "--tasks", "general_text")
REPORT = ("report", "runs/tickets")
COMPARE = ("compare", "good", "bad")
STUDIES = (
    Bad("ten lines of aliases that stand for ten billion words", study(billion_laughs())),
    Bad("100,000 brackets, one in another", study("a: " + "[" * DEEP)),
    Bad("2,000 brackets, one in another, and closed", study("a: " + "[" * 2000 + "]" * 2000)),
    Bad("a file of 300 KiB", study(STUDY + "#" * 300 * 1024)),
    Bad("an endless file", lambda _: None, ("check", "/dev/zero")),
    Bad("a file that is not there", lambda _: None, ("check", "gone.yaml")),
    Bad("a directory", lambda place: (place / "study.yaml").mkdir()),
    Bad("nothing", study("")),
    Bad("random bytes", study(bytes(range(256)))),
    Bad("text that is not UTF-8", study(STUDY.encode() + b"# caf\xe9")),
    Bad("a key twice", study(STUDY + "name: other\n")),
    Bad("a tag that makes an object", value("seed", "!!python/object/apply:os.system ['touch sprung']")),
    Bad("a whole number of 5,000 digits", value("seed", "9" * 5000)),
    Bad("a hexadecimal number of 5,000 digits", value("seed", "0x" + "f" * 5000)),
    Bad("not a number", value("training", "{learning_rate: .nan}")),
    Bad("an infinite number", value("training", "{learning_rate: .inf}")),
    Bad("a key that would colour the terminal", value('"\\e[31mred\\e]0;title\\a"', "1")),
    Bad("a key that would turn the line round", value('"\\u202Egnp"', "1")),
    Bad("half a character", value('"\\ud800"', "1")),
    Bad("a name that climbs", study(STUDY.replace("name: bad", "name: ../../bad"))),
    Bad("a method's name that climbs", study(STUDY.replace("[lora]", "{../../lora: {kind: lora}}"))),
    Bad("a method's name with a NUL", study(STUDY.replace("[lora]", '{"lo\\0ra": {kind: lora}}'))),
    Bad("data outside its directory", data("{train: ../rows.jsonl}")),
    Bad("data by a path from the root", data("{train: /etc/rows.jsonl}")),
    Bad("data that are a link to elsewhere", linked("/etc/passwd")),
    Bad("data with a NUL in their name", data('{train: "rows\\0.jsonl"}')),
    Bad("a JSON schema outside", data("{train: rows.jsonl, answer: json, json_schema: ../schema.json}")),
    Bad("tables outside", data("{train: rows.jsonl, answer: sql, sql_schema: /etc/tables.sql}")),
    Bad("a grader outside", data("{train: rows.jsonl, grader: '../grade.py:grade'}")),
    Bad("prose outside", value("evaluation", "{general_text: /etc/passwd}")),
    Bad(
        "the answers that a judge compares with, outside",
        value("evaluation", "{scoring: {judge: {base_url: 'http://localhost:1', model: m, against: ../eval}}}"),
    ),
    Bad(
        "a judge's address with a password",
        value("evaluation", "{scoring: {judge: {base_url: 'http://me:hunter22@localhost:1', model: m}}}"),
    ),
    Bad(
        "a model's own code at a branch",
        study(STUDY.replace("nothing}", "nothing, trust_remote_code: true, revision: main}")),
    ),
    Bad("attention from the Hub", study(STUDY.replace("nothing}", "nothing, attn_implementation: evil/kernel}"))),
    Bad(
        "a schema that refers to itself",
        data("{train: rows.jsonl, json_schema: " + CIRCLE + "}"),
    ),
    Bad("an override that is none", written(), (*CHECK, "--set", "[[[[")),
    Bad("an override of brackets", written(), (*CHECK, "--set", "seed=" + "[" * 20)),
)
DATA = (
    Bad("JSONL: 100,000 brackets", rows("rows.jsonl", ROWS + "[" * DEEP + "\n")),
    Bad(
        "JSONL: an answer nested 500 deep",
        rows("rows.jsonl", ROWS + '{"prompt": "1", "completion": ' + "[" * 500 + "]" * 500 + "}\n"),
    ),
    Bad(
        "JSONL: a number of 5,000 digits",
        rows("rows.jsonl", ROWS + '{"prompt": "1", "completion": ' + "9" * 5000 + "}\n"),
    ),
    Bad("JSONL: a number beyond all numbers", rows("rows.jsonl", ROWS + '{"prompt": "1", "completion": 1e999}\n')),
    Bad("JSONL: NaN", rows("rows.jsonl", ROWS + '{"prompt": "1", "completion": NaN}\n')),
    Bad("JSONL: half a character", rows("rows.jsonl", ROWS + '{"prompt": "\\ud800", "completion": "1"}\n')),
    Bad("JSONL: a line of 17 MiB", rows("rows.jsonl", ROWS + '{"prompt": "' + "a" * 17 * 2**20 + '"}\n')),
    Bad("JSONL: controls of a terminal in a column's name", rows("rows.jsonl", '{"\\u001b[2Jprompt": "1"}\n' * 9)),
    Bad("JSONL: numbers where objects belong", rows("rows.jsonl", "1\n2\n")),
    Bad("JSON: 100,000 brackets", rows("rows.json", "[" * DEEP)),
    Bad("JSON: cut short", rows("rows.json", '[{"prompt": "1", "comple')),
    Bad("JSON: no list", rows("rows.json", '{"rows": 1}')),
    Bad("JSON: UTF-16", rows("rows.json", "[]".encode("utf-16"))),
    Bad("CSV: a quotation that never ends", rows("rows.csv", 'prompt,completion\n"1,2\n' + "3,4\n" * 9)),
    Bad("CSV: 200,000 columns of one name", rows("rows.csv", "a," * 200_000 + "a\n")),
    Bad("CSV: a field of 200 kB", rows("rows.csv", "prompt,completion\n" + "a" * 200_000 + ",1\n")),
    Bad("CSV: NUL", rows("rows.csv", "prompt,completion\n1,\0\n" * 3)),
    Bad("CSV: binary", rows("rows.csv", bytes(range(255, -1, -1)) * 9)),
    Bad("Parquet: a terabyte in a few kilobytes", parquet_bomb),
    Bad("Parquet: cut short", cut_parquet),
    Bad(
        "Parquet: its footer's length is a lie",
        lying_parquet,
    ),
    Bad("Parquet: another file of that name", rows("rows.parquet", ROWS)),
    Bad("an archive", rows("rows.zip", zipped())),
    Bad("an archive that is called JSONL", rows("rows.jsonl", zipped())),
    Bad("a pipe that nobody writes to", piped),
    Bad(
        "a JSON schema that is a pipe",
        unwritten("s.json", "rows.jsonl, answer: json, json_schema: s.json"),
    ),
    Bad("a grader that is a pipe", unwritten("g.py", "rows.jsonl, grader: 'g.py:grade'")),
    Bad(
        "a JSON schema of forty lines that refer to each other twice",
        data("{train: rows.jsonl, json_schema: " + DOUBLING + "}"),
    ),
    Bad("SQL tables that attach a file", sql("ATTACH 'sprung.db' AS x; CREATE TABLE x.t (a);")),
    Bad(
        "SQL tables that never end",
        sql(
            "CREATE TABLE t (a); WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c) "
            "INSERT INTO t SELECT n FROM c;"
        ),
    ),
    Bad("a grader that is no Python", grader("def grade(:")),
    Bad("a grader without its function", grader("import os\nos.mkdir('sprung')\n")),
    Bad("a grader nested 100,000 deep", grader("x = " + "(" * DEEP)),
)
RUNS = (
    Bad(
        "a study with a tag that makes an object",
        run(study=TAGGED),
        REPORT,
    ),
    Bad("a study of aliases", run(study=billion_laughs()), REPORT),
    Bad("a study of 100,000 brackets", run(study="a: " + "[" * DEEP), REPORT),
    Bad("a study of random bytes", run(study=bytes(range(256))), ("status", "runs/tickets")),
    Bad("a study that is none", run(study="name: x\n"), ("status", "runs/tickets")),
    Bad("a record of 100,000 brackets", run(record="[" * DEEP), REPORT, 0),
    Bad("a record cut short", run(record='{"config": {"phase": "sea'), REPORT, 0),
    Bad("a record of another shape", run(record='{"config": [], "state": 3}'), REPORT, 0),
    Bad("a record cut short, asked for its state", run(record='{"config": '), ("status", "runs/tickets")),
    Bad("steps of 100,000 brackets", run(steps="[" * DEEP + "\n{}\n[]\nnull\n" + '{"loss": 1e999}\n'), REPORT, 0),
    Bad("an environment of 100,000 brackets", run(environment="[" * DEEP), REPORT, 0),
    Bad("openings of 100,000 brackets", run(openings="[" * DEEP + "\n{}\n1\n"), REPORT, 0),
    Bad("a record whose answers lie elsewhere", renamed_answers, REPORT, 0),
    Bad("a record that is a pipe", endless(), ("status", "runs/tickets")),
    Bad("a record that is an endless device", endless("/dev/zero"), ("status", "runs/tickets")),
    Bad("a report that is a link to elsewhere", linked_report, REPORT),
    Bad("a trial that climbs", run(), ("rerun", "runs/tickets", "../../../etc")),
    Bad("no run at all", lambda _: None, REPORT),
)
SCORES = (
    Bad("results of 100,000 brackets", scores("[" * DEEP), COMPARE),
    Bad("results of another shape", scores('{"results": {"toy": 3}}'), COMPARE),
    Bad("results that are a list", scores("[1, 2]"), COMPARE),
    Bad("results of a task that climbs", scores('{"results": {"../../toy": {"acc,none": 1.0}}}'), COMPARE),
    Bad("answers of 100,000 brackets", scores("", "[" * DEEP), COMPARE),
    Bad("answers of another shape", scores("", '{"doc_id": "x"}'), COMPARE),
    Bad("answers that are numbers", scores("", "1"), COMPARE),
    Bad("no scores", empty_scores, COMPARE),
)
MODELS = (
    Bad("weights that are a pickle", pickled_model, EVAL),
    Bad("an adapter that is a pickle", pickled_adapter, (*EVAL, "--adapter", "adapter")),
    Bad("a model that brings code", coded_model, EVAL),
    Bad("weights of random bytes", broken_weights(bytes(range(256)) * 16), EVAL),
    Bad("weights whose header is 8 exabytes", broken_weights(struct.pack("<Q", 2**63 - 1) + b"{}"), EVAL),
    Bad("no model", lambda _: None, EVAL),
    Bad("a chat template that counts for ever", templated(COUNTING), TRAIN),
    Bad("a chat template that fills the memory", templated("{{ 'a' * 10 ** 11 }}"), TRAIN),
    Bad("a chat template that looks for a way out", templated(ESCAPING), TRAIN),
)
