"""Lanes that come to rungs in the same step are judged together, each by the losses of all.

Judged one after another, the first would be compared with nobody and go on whatever its loss, the second with one, and
so on: how many trials are trained to their ends would depend on the order that they were seated in.
"""

from collections.abc import Mapping

from sweep.training.lanes.lane import Lane


def judge(lanes: Mapping[int, Lane]) -> dict[int, BaseException]:
    """Have every loss judged that nobody has judged yet. Gives what went wrong, by lane."""
    reached = {number: lane.unjudged for number, lane in lanes.items() if lane.unjudged is not None}
    failed: dict[int, BaseException] = {}
    for number, (rung, loss) in reached.items():
        lanes[number].job.on_loss(rung, loss)
    for number, (rung, loss) in reached.items():
        try:
            lanes[number].take_verdict(prune=lanes[number].job.on_rung(rung, loss))
        except Exception as error:  # noqa: BLE001 - whatever ends a trial is its result
            failed[number] = error
    return failed
