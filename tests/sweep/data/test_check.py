import json
import subprocess
import sys
from pathlib import Path

import pytest

from sweep.data.check import check_files
from sweep.data.prepare import prepare
from sweep.errors import DataError
from sweep.spec import DataSpec

GOOD = [{"prompt": f"Question {number}?", "completion": f"Answer {number}."} for number in range(200)]


def jsonl(rows: list[object]) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def replaced(number: int, row: object) -> bytes:
    return jsonl([*GOOD[: number - 1], row, *GOOD[number:]])


def line(number: int, raw: bytes) -> bytes:
    lines = jsonl(list(GOOD)).splitlines(keepends=True)
    lines[number - 1] = raw + b"\n"
    return b"".join(lines)


STRICT: dict[str, object] = {"max_bad_rows": 0}

# Name of the case: the file's name, its bytes, further data settings, and what the one line must say.
MALFORMED: dict[str, tuple[str, bytes, dict[str, object], tuple[str, ...]]] = {
    "empty file": ("d.jsonl", b"", {}, ("d.jsonl: holds no rows",)),
    "only blank lines": ("d.jsonl", b"\n\n  \n", {}, ("holds no rows",)),
    "broken JSON line": ("d.jsonl", line(7, b'{"prompt": "x", '), STRICT, ("d.jsonl:7: not JSON", "column")),
    "line is a list": ("d.jsonl", line(3, b"[1, 2]"), STRICT, ("d.jsonl:3: [1, 2] where an object",)),
    "line is not UTF-8": ("d.jsonl", line(4, b'{"prompt": "caf\xe9"}'), STRICT, ("d.jsonl:4: not UTF-8 at byte 16",)),
    "file is UTF-16": ("d.jsonl", jsonl(list(GOOD)).decode().encode("utf-16"), {}, ("is UTF-16", "Save it as UTF-8")),
    "raw NUL byte": ("d.jsonl", line(5, b'{"prompt": "a\x00", "completion": "b"}'), STRICT, ("d.jsonl:5: not JSON",)),
    "escaped NUL": ("d.jsonl", replaced(5, {"prompt": "a\0", "completion": "b"}), STRICT, ("prompt contains a NUL",)),
    "half a surrogate": (
        "d.jsonl",
        line(9, b'{"prompt": "a", "completion": "\\ud83d"}'),
        STRICT,
        ("d.jsonl:9: completion contains half a surrogate pair at character 1",),
    ),
    "NaN": ("d.jsonl", line(2, b'{"prompt": "a", "completion": NaN}'), STRICT, ("d.jsonl:2:", "NaN is no JSON value")),
    "nested a million deep": ("d.jsonl", line(2, b"[" * 1_000_000), STRICT, ("d.jsonl:2:", "nested too deeply")),
    "number with too many digits": ("d.jsonl", line(2, b'{"prompt": ' + b"9" * 5000 + b"}"), STRICT, ("d.jsonl:2:",)),
    "endless line": ("d.jsonl", line(2, b"x" * (17 * 2**20)), STRICT, ("d.jsonl:2: longer than 16777216 bytes",)),
    "answer missing": ("d.jsonl", replaced(6, {"prompt": "a"}), STRICT, ("d.jsonl:6: completion is missing",)),
    "answer blank": ("d.jsonl", replaced(6, {"prompt": "a", "completion": " "}), STRICT, ("6: completion is empty",)),
    "prompt is a number": (
        "d.jsonl",
        replaced(6, {"prompt": 3, "completion": "b"}),
        STRICT,
        ("d.jsonl:6: prompt is a number, 3; text is needed",),
    ),
    "more bad rows than allowed": (
        "d.jsonl",
        jsonl([*GOOD[:80], *[{"prompt": "x"}] * 12]),
        {},
        ("12 of 92 rows do not fit", "data.max_bad_rows: 0.01 allows 0", "d.jsonl:81:", "d.jsonl:90:", "and 2 more"),
    ),
    "last message is the user's": (
        "d.jsonl",
        jsonl([{"messages": [{"role": "user", "content": "a"}]}] * 20),
        {},
        ("d.jsonl:1: the last message is from 'user'",),
    ),
    "messages of another dialect": (
        "d.jsonl",
        jsonl([{"messages": [{"from": "human", "value": "a"}]}] * 20),
        {},
        ("message 1 of messages has from, value; role and content are needed",),
    ),
    "message content is a list": (
        "d.jsonl",
        jsonl([{"messages": [{"role": "user", "content": [{"type": "text"}]}]}] * 20),
        {},
        ("content that is a list; text is needed",),
    ),
    "unknown columns": ("d.jsonl", jsonl([{"promt": "a", "completion": "b"}]), {}, ("promt", "Did you mean 'prompt'?")),
    "ambiguous columns": (
        "d.jsonl",
        jsonl([{"prompt": "a", "completion": "b", "text": "c"}]),
        {},
        ("more than one shape, 'prompt + completion' and 'text'",),
    ),
    "text beside an answer": ("d.jsonl", jsonl([{"text": "a", "output": "b"}]), {}, ("output would be left out",)),
    "mapped column is absent": (
        "d.jsonl",
        jsonl(list(GOOD)),
        {"columns": {"completion": "complete"}},
        ("no column 'complete'", "Columns found: prompt, completion", "Did you mean 'completion'?"),
    ),
    "mapped name is not ours": (
        "d.jsonl",
        jsonl(list(GOOD)),
        {"columns": {"promt": "prompt"}},
        ("data.columns: unknown name 'promt'", "Did you mean 'prompt'?"),
    ),
    "group column is absent": ("d.jsonl", jsonl(list(GOOD)), {"group": "customer"}, ("no column 'customer'",)),
    "split comes out empty": ("d.jsonl", jsonl(list(GOOD[:1])), {}, ("came out empty", "Give at least 50")),
    "share above one": ("d.jsonl", jsonl(list(GOOD)), {"test": 1.5}, ("data.test: 1.5 is no share",)),
    "shares leave nothing": ("d.jsonl", jsonl(list(GOOD)), {"test": 0.6, "validation": 0.5}, ("nothing to train on",)),
    "answers are not JSON": ("d.jsonl", jsonl(list(GOOD)), {"answer": "json"}, ("no JSON object or list, such as",)),
    "system message for plain text": ("d.jsonl", jsonl([{"text": "a"}] * 9), {"system": "Be kind."}, ("data.system:",)),
    "test file of another shape": (
        "d.jsonl",
        jsonl(list(GOOD)),
        {"test": "other.jsonl"},
        ("other.jsonl: its columns make the shape text", "prompt + completion"),
    ),
    "missing test file": ("d.jsonl", jsonl(list(GOOD)), {"test": "othr.jsonl"}, ("Did you mean 'other.jsonl'?",)),
    "unknown file type": ("d.xlsx", b"PK", {"train": "./d.xlsx"}, ("unknown file type '.xlsx'", ".csv", ".parquet")),
    "JSON with one object a line": ("d.json", jsonl(list(GOOD)), {}, ("Extra data", "is named .jsonl")),
    "JSON object without rows": ("d.json", b'{"rows": []}', {}, ("holds no list of rows", "'data'")),
    "JSON cut short": ("d.json", b'[{"prompt": "a"}, ', {}, ("d.json: not JSON",)),
    "CSV row with too many fields": (
        "d.csv",
        b"prompt,completion\n" + b"a,b,c\n" * 9,
        {},
        ("d.csv:1: 3 fields where the header has 2",),
    ),
    "CSV quote never closed": ("d.csv", b'prompt,completion\na,"b\nc,d\n', {}, ("d.csv:3: not CSV",)),
    "CSV with semicolons": ("d.csv", b"prompt;completion\na;b\n", {}, ("Separate columns by commas",)),
    "CSV header repeats": ("d.csv", b"prompt,prompt\na,b\n", {}, ("d.csv:1: the header repeats prompt",)),
    "CSV in Latin-1": ("d.csv", b"prompt,completion\ncaf\xe9,b\n", {}, ("d.csv:2: not UTF-8",)),
    "Parquet that is none": ("d.parquet", b"PAR1 and then nothing PAR1", {}, ("not a Parquet file",)),
}


@pytest.mark.parametrize("case", MALFORMED)
def test_malformed_data_get_one_clear_line_before_and_while_preparing(
    case: str, tiny_tokenizer, tmp_path: Path
) -> None:
    name, content, settings, expected = MALFORMED[case]
    (tmp_path / name).write_bytes(content)
    (tmp_path / "other.jsonl").write_bytes(jsonl([{"text": "a"}]))
    spec = DataSpec.model_validate({"train": name, **settings})

    (complaint,) = check_files(spec, tmp_path)
    with pytest.raises(DataError) as refused:
        prepare(spec, tiny_tokenizer, data_root=tmp_path, max_length=64, directory=tmp_path / "out", seed=0)

    assert all(fragment in complaint for fragment in expected), complaint
    assert "\n" not in complaint
    assert complaint.endswith((".", "?"))
    assert len(complaint) < 2000
    assert str(refused.value) == complaint
    assert not (tmp_path / "out").exists()


def test_every_file_is_complained_about_at_once(tmp_path: Path) -> None:
    (tmp_path / "train.jsonl").write_bytes(jsonl([{"a": "b"}]))
    (tmp_path / "test.csv").write_bytes(b"")

    complaints = check_files(DataSpec(train="train.jsonl", test="test.csv"), tmp_path)

    assert [complaint.split(":")[0] for complaint in complaints] == ["train.jsonl", "test.csv"]


def test_good_data_are_not_complained_about(tmp_path: Path) -> None:
    (tmp_path / "d.jsonl").write_bytes(jsonl(list(GOOD)))

    assert check_files(DataSpec(train="d.jsonl"), tmp_path) == []


def test_checking_loads_neither_torch_nor_transformers_nor_datasets(tmp_path: Path) -> None:
    (tmp_path / "d.jsonl").write_bytes(jsonl(list(GOOD)))
    program = (
        "import sys; from pathlib import Path; import sweep.data.prepare; from sweep.data.check import check_files;"
        "from sweep.spec import DataSpec; problems = check_files(DataSpec(train='d.jsonl'), Path(sys.argv[1]));"
        "print(problems, {'torch', 'transformers', 'datasets'} & sys.modules.keys())"
    )

    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True, check=True, timeout=120
    )

    assert done.stdout.strip() == "[] set()"
