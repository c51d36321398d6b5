"""The judged tasks and what each gives, for those who only want to know their names."""

from collections.abc import Mapping

METRICS: Mapping[str, str] = {"judge_pairs": "win_rate", "judge_score": "score"}
"""Each judged task's metric: wins with ties as half, or a grade from 1 to 10. Higher is better."""
JUDGE_ERROR = "judge_error"
"""Metric of every judged task: the share of items that the judge failed on. Lower is better."""
