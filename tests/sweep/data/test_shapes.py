import pytest

from sweep.data.rows import Message, RawRow, RawRows, Row
from sweep.data.shapes import FittedRows, fit_rows
from sweep.errors import DataError
from sweep.spec import DataSpec


def fit(*records: dict[str, object], group_required: bool = True, **settings: object) -> FittedRows:
    raw = RawRows("d", [RawRow(number, record) for number, record in enumerate(records, start=1)], [])
    return fit_rows(raw, DataSpec.model_validate({"train": "d", **settings}), group_required=group_required)


def only(fitted: FittedRows) -> Row:
    (row,) = fitted.rows
    return row


USER = {"role": "user", "content": "Hi"}
ASSISTANT = {"role": "assistant", "content": "Hello"}


def test_the_last_message_is_the_answer() -> None:
    row = only(fit({"messages": [{"role": "system", "content": ""}, USER, ASSISTANT]}))

    assert row.turns == (Message("system", ""), Message("user", "Hi"))
    assert (row.answer, row.plain) == ("Hello", None)


def test_conversational_prompt_and_completion_are_one_conversation() -> None:
    row = only(fit({"prompt": [USER], "completion": [ASSISTANT]}))

    assert row == only(fit({"messages": [USER, ASSISTANT]}))


def test_an_instruction_and_its_input_are_parted_by_a_blank_line() -> None:
    with_input = only(fit({"instruction": "Add.", "input": "1, 2", "output": "3"}))
    without = only(fit({"instruction": "Add.", "input": "", "output": "3"}))

    assert with_input.turns == (Message("user", "Add.\n\n1, 2"),)
    assert (with_input.plain, without.plain) == ("Add.\n\n1, 2\n\n", "Add.\n\n")


def test_a_prompt_is_kept_exactly_as_given() -> None:
    row = only(fit({"prompt": " Sum: ", "completion": " 3\n"}))

    assert (row.plain, row.answer) == (" Sum: ", " 3\n")


@pytest.mark.parametrize(
    ("value", "written"),
    [({"a": None, "b": "ü"}, '{"a": null, "b": "ü"}'), ([], "[]"), (3, "3"), (2.5, "2.5"), (True, "true"), ("x", "x")],
)
def test_answers_that_are_no_text_are_written_as_json(value: object, written: str) -> None:
    assert only(fit({"prompt": "p", "completion": value})).answer == written


@pytest.mark.parametrize("value", [None, "", " \n", float("nan"), float("inf"), {"a": float("nan")}, {"a": b"x"}])
def test_answers_that_cannot_be_learned_do_not_fit(value: object) -> None:
    fitted = fit({"prompt": "p", "completion": value})

    assert not fitted.rows
    assert [bad.row for bad in fitted.bad] == [1]


def test_a_list_of_numbers_is_an_answer_and_not_a_conversation() -> None:
    assert only(fit({"prompt": "p", "completion": [1, {"role": "x"}]})).answer == '[1, {"role": "x"}]'


def test_mapped_columns_give_the_shape() -> None:
    row = only(
        fit({"text": "a", "label": 3, "label_text": "b"}, columns={"prompt": "text", "completion": "label_text"})
    )

    assert (row.plain, row.answer) == ("a", "b")


def test_naming_columns_settles_which_shape_is_meant() -> None:
    record = {"instruction": "a", "input": "", "output": "b", "text": "a b"}

    with pytest.raises(DataError, match="more than one shape"):
        fit(record)
    assert fit(record, columns={"output": "output"}).shape.name == "instruction"
    assert fit(record, columns={"text": "text"}).shape.name == "text"


def test_a_stray_key_in_one_record_changes_no_shape() -> None:
    records = [{"prompt": f"{number}", "completion": "b"} for number in range(9)]

    fitted = fit(*records, {"text": "a"})

    assert fitted.shape.name == "prompt"
    assert [bad.reason for bad in fitted.bad] == ["completion is missing"]


def test_a_row_without_its_group_does_not_fit() -> None:
    records = [{"text": "a", "doc": 1}, {"text": "b", "doc": "1"}, {"text": "c", "doc": None}, {"text": "d"}]

    fitted = fit(*records, group="doc")

    assert [row.group for row in fitted.rows] == ["1", "1"]
    assert [bad.reason for bad in fitted.bad] == ["group column doc is empty"] * 2


def test_a_file_of_its_own_may_lack_the_group() -> None:
    assert only(fit({"text": "a"}, group="doc", group_required=False)).group is None
    with pytest.raises(DataError, match="no column 'doc'"):
        fit({"text": "a"}, group="doc")


def test_content_has_one_identity_whatever_its_place() -> None:
    first, second = fit({"text": "a", "g": 1}, {"text": "a", "g": 2}, group="g").rows

    assert first.digest() == second.digest()
    assert first.digest() != only(fit({"prompt": "a", "completion": "a"})).digest()


def test_hostile_text_cannot_write_to_the_terminal() -> None:
    with pytest.raises(DataError) as refused:
        fit({"\x1b[2J\nboo": "a", "x" * 10_000: "b"})

    assert str(refused.value).isprintable()
    assert len(str(refused.value)) < 1000
