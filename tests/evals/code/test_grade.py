"""Verdicts, and whose the names in a test are."""

import itertools

import numpy as np
import pytest

from evals.code.grade import Names, Problem, Verdict, find_names, grade, mean_pass_at_k, pass_at_k
from evals.code.limits import Limits
from evals.code.sandbox import Sandbox

LIMITS = Limits(wall_seconds=20, cpu_seconds=20)
PROMPT = """import math


def poly(xs: list, x: float):
    return sum(c * x**i for i, c in enumerate(xs))


def root(xs):
"""
ROOT = "def check(candidate):\n    xs = [-6, 2]\n    assert math.fabs(poly(xs, candidate(xs))) < 1e-4\ncheck(root)"
OBJECTS = "assert longest([Pair(1, 2), Pair(3, 5)]) == 2"
PAIR = """
class Pair:
    def __init__(self, a, b): self.length = b - a
def longest(pairs): return max(pair.length for pair in pairs)
"""
NUMPY = "import numpy as np\ndef f(x): return np.sum(x)"
DATACLASS = """
from __future__ import annotations
from dataclasses import dataclass
@dataclass
class P:
    x: int
def f(): return P(1).x
"""
THREADS = """
from concurrent.futures import ThreadPoolExecutor
def f():
    with ThreadPoolExecutor(2) as pool: return list(pool.map(abs, [-1]))
"""

NAMES = [
    (Problem("def check(c):\n    assert c(1)\ncheck(f)"), Names("", ("f",), ())),
    (Problem("assert f(1) == len('a')\nassert g(2)"), Names("", ("f", "g"), ())),
    (Problem("assert math.isclose(f(1), math.pi)"), Names("", ("f",), ("math",))),
    (Problem("import math\nassert math.isclose(f(1), 1)"), Names("", ("f",), ())),
    (Problem("assert sum(1, 2) == 3"), Names("", ("sum",), ())),
    (Problem("assert abs(f(1)) == 3"), Names("", ("f",), ())),
    (Problem("check = 1\nassert all(f(x) for x in range(3))"), Names("", ("f",), ())),
    (Problem(ROOT, PROMPT), Names(PROMPT.partition("def root")[0], ("root",), ())),
    (Problem("check(f)", "Write a function f."), Names("", ("check", "f"), ())),
]


@pytest.mark.parametrize(("problem", "names"), NAMES, ids=lambda value: getattr(value, "test", ""))
def test_a_name_is_the_programs_only_where_nobody_else_defines_it(problem: Problem, names: Names) -> None:
    assert find_names(problem) == names


GRADED = [
    ("helper of the prompt", PROMPT + "    return -xs[0] / xs[1]", Problem(ROOT, PROMPT), True),
    ("helper replaced", PROMPT + "    return 0\ndef poly(*_): return 0", Problem(ROOT, PROMPT), False),
    ("own classes", PAIR, Problem(OBJECTS), True),
    (
        "counter",
        "from collections import Counter\ndef f(x): return Counter(x)",
        Problem("assert f('aa') == {'a': 2}"),
        True,
    ),
    ("named like a built-in", "def sum(a, b): return a + b", Problem("assert sum(1, 2) == 3"), True),
    (
        "raises as it should",
        "def f(): raise KeyError('a')",
        Problem("try:\n    f()\n    bad\nexcept KeyError: pass"),
        True,
    ),
    ("raises otherwise", "def f(): raise KeyError", Problem("try:\n    f()\nexcept ValueError: pass"), False),
    ("keywords", "def f(*a, **k): return a, k", Problem("assert f(1, b=2) == ((1,), {'b': 2})"), True),
    ("state kept between calls", "n = []\ndef f(): n.append(1); return len(n)", Problem("assert f() + f() == 3"), True),
    ("argument changed", "def f(x): x.clear(); return 0", Problem("x = [1]\nassert f(x) == 0\nassert x == [1]"), True),
    ("large integer", "def f(): return 7 ** 9000", Problem("assert f() == 7 ** 9000"), True),
    (
        "main is not run",
        "def f(): return 1\nif __name__ == '__main__': raise SystemExit",
        Problem("assert f() == 1"),
        True,
    ),
    ("reads input", "x = input()\ndef f(): return 1", Problem("assert f() == 1"), False),
    ("numpy in both", NUMPY, Problem("import numpy as np\nassert f([1, 2]) == np.int64(3)"), True),
    ("dataclass", DATACLASS, Problem("assert f() == 1"), True),
    ("threads", THREADS, Problem("assert f() == [1]"), True),
    ("test is not Python", "def f(): return 1", Problem("assert f( =="), False),
]


@pytest.mark.parametrize(("program", "problem", "passes"), [row[1:] for row in GRADED], ids=[row[0] for row in GRADED])
def test_a_program_is_graded_as_python_would(sandbox: Sandbox, program: str, problem: Problem, *, passes: bool) -> None:
    verdict = grade(sandbox, program, problem, limits=LIMITS)

    assert verdict.passed == passes, verdict.reason


def test_a_failure_says_why(sandbox: Sandbox) -> None:
    problem = Problem("assert f(1) == 2, 'one too few'")

    wrong = grade(sandbox, "def f(x): return x", problem, limits=LIMITS)
    broken = grade(sandbox, "def f(x): return y", problem, limits=LIMITS)
    absent = grade(sandbox, "def g(x): return x", problem, limits=LIMITS)
    slow = grade(sandbox, "while True: pass", problem, limits=LIMITS.model_copy(update={"wall_seconds": 0.5}))

    assert wrong == Verdict(passed=False, reason="AssertionError: one too few")
    assert broken == Verdict(passed=False, reason="NameError: name 'y' is not defined")
    assert absent == Verdict(passed=False, reason="NameError: name 'f' is not defined")
    assert slow == Verdict(passed=False, reason="out of time")


def test_pass_at_k_is_the_share_of_draws_of_k_samples_that_hold_a_pass() -> None:
    for samples, passed, k in itertools.product(range(1, 7), range(7), range(1, 7)):
        if passed > samples or k > samples:
            with pytest.raises(ValueError, match="pass@"):
                pass_at_k(samples, passed, k)
            continue
        draws = list(itertools.combinations([True] * passed + [False] * (samples - passed), k))
        assert pass_at_k(samples, passed, k) == pytest.approx(sum(map(any, draws)) / len(draws))


def test_pass_at_k_is_unbiased_where_the_plug_in_estimate_is_not() -> None:
    chance, samples, k, rounds = 0.1, 10, 5, 20_000
    draw = np.random.default_rng(1)
    counts = [(samples, sum(draw.random() < chance for _ in range(samples))) for _ in range(rounds)]

    truth = 1 - (1 - chance) ** k
    plug_in = sum(1 - (1 - passed / samples) ** k for samples, passed in counts) / rounds
    assert mean_pass_at_k(counts, k) == pytest.approx(truth, abs=0.01)
    assert plug_in != pytest.approx(truth, abs=0.01)


def test_pass_at_k_is_left_out_where_a_problem_has_fewer_samples() -> None:
    assert mean_pass_at_k([(5, 1), (4, 4)], 5) is None
    assert mean_pass_at_k([], 1) is None
