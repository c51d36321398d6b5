"""What MLflow was told, as lines on disk: nothing that a kill leaves there is taken for more than it is."""

from pathlib import Path

import pytest

from sweep.store import RunDirectory
from sweep.tracking.delivery import Courier
from sweep.tracking.ledger import Ledger


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(RunDirectory(tmp_path / "run"), "sqlite:///toy.db")


def put(ledger: Ledger, key: str, text: str = "{}") -> None:
    path = ledger.run.path / key / "record.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_a_record_is_owed_until_it_is_added_and_again_once_it_changed(ledger: Ledger) -> None:
    put(ledger, "search/lora/0000")
    put(ledger, "search/lora/0001")
    for item in ledger.pending():
        ledger.add(item)
    told = ledger.pending()
    put(ledger, "search/lora/0001", '{"redone": true}')

    assert told == []
    assert [item.key for item in ledger.pending()] == ["search/lora/0001"]


@pytest.mark.parametrize("length", range(1, 12))
def test_a_line_that_was_cut_short_spoils_neither_those_before_nor_those_after(ledger: Ledger, length: int) -> None:
    for number in range(3):
        put(ledger, f"search/lora/000{number}")
    first, second, third = ledger.pending()
    ledger.add(first)
    whole = ledger.path.read_bytes()
    ledger.add(second)
    ledger.path.write_bytes(ledger.path.read_bytes()[: len(whole) + length])
    ledger.add(third)

    assert set(ledger.read()) == {first.key, third.key}
    assert ledger.pending() == [second]


def test_a_study_is_settled_only_while_its_last_word_is_finished(ledger: Ledger) -> None:
    seen = []
    for status in ("FINISHED", None, "KILLED", "FINISHED"):
        ledger.set_study(status)
        seen.append(ledger.is_settled)

    assert seen == [True, False, False, True]


class Deliveries:
    """A courier that notes what it would deliver, and fails where it is told to."""

    def __init__(self, ledger: Ledger) -> None:
        self.sent: list[str] = []
        self.broken: set[str] = set()
        deliveries = self

        class Noting(Courier):
            def _open(self) -> None:
                return

            def _deliver_one(self, item: object) -> None:
                key = item.key  # type: ignore[attr-defined]
                if key in deliveries.broken:
                    raise OSError(key)
                deliveries.sent.append(key)
                self.ledger.add(item)  # type: ignore[arg-type]

        self.courier = Noting(ledger.run, "toy", {}, pytest.fail, ledger, lambda _: None)


def test_a_delivery_looks_at_the_records_it_was_told_of_and_at_all_of_them_after_a_failure(ledger: Ledger) -> None:
    put(ledger, "search/lora/0000")
    post = Deliveries(ledger)
    post.courier.deliver()
    put(ledger, "search/lora/0001")
    put(ledger, "search/lora/0002")
    post.courier.told = ["search/lora/0002"]
    post.courier.deliver()
    told = list(post.sent)
    put(ledger, "search/lora/0003")
    post.broken = {"search/lora/0003"}
    post.courier.told = ["search/lora/0003"]
    post.courier.deliver()
    post.broken = set()
    post.courier.deliver()

    assert told == ["search/lora/0000", "search/lora/0002"]
    assert post.sent[2:] == ["search/lora/0001", "search/lora/0003"]
