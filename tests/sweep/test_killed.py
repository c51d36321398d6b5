"""A study is killed at random moments and ends as one that ran through; `tests/benchmarks/faults.py` does more."""

import dataclasses
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from killed_cluster import killed_cluster
from killed_contents import contents, differences
from killed_workloads import BARE, WORKLOADS, hear_ctrl_c
from killing import COUNTS, Tormentor, run_through

BEGIN = """
import sys
from sweep import interrupts, start
with interrupts.leaving_at_once():
    print("begun", flush=True)
    sys.exit(start.main())
"""
STARTS = [sys.executable, "-P", "-c", BEGIN, "check", "none.yaml"]


def test_a_study_that_is_killed_again_and_again_ends_as_one_that_was_not(tmp_path: Path) -> None:
    reference = run_through(BARE, tmp_path / "whole", tmp_path)
    kills = 0
    # A study that is killed near its end is not killed often.
    for seed in range(12):
        study = Tormentor(BARE, reference, tmp_path / f"killed-{seed}", tmp_path, seed=seed)
        found = study.torment(4 - kills, time.monotonic() + 60)
        kills += len(found.kills)
        assert found.is_clean, "\n".join(found.words)
        assert {what for _, what in found.counts} <= set(COUNTS)
        if kills == 4:
            break

    assert kills == 4


@pytest.mark.slow
@pytest.mark.parametrize("name", WORKLOADS)
def test_a_whole_study_that_is_killed_holds_what_it_would_have_held(
    tmp_path: Path, tiny_model: Path, name: str
) -> None:
    workload = WORKLOADS[name]
    if workload.is_away:
        pytest.importorskip("ray", reason="the extra finetune-sweep[ray] is not installed")
    with killed_cluster(wanted=workload.is_away) as cluster:
        reference = run_through(workload, tmp_path / "whole", tiny_model, cluster)
        study = Tormentor(workload, reference, tmp_path / "killed", tiny_model, seed=2, cluster=cluster)

        found = study.torment(3, time.monotonic() + 300)

    assert found.is_clean, "\n".join(found.words)


def test_what_two_studies_hold_otherwise_is_told_by_its_place() -> None:
    one = {"trials": {"a": {"loss": 1.0}, "b": {}}, "rows": [1, 2]}
    other = {"trials": {"a": {"loss": 1.1}}, "rows": [1, 3]}

    assert list(differences(one, other)) == [
        "/rows/1: 2 and 3",
        "/trials/a/loss: 1.0 and 1.1",
        "/trials/b is only in the first",
    ]
    assert list(differences(one, one)) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_command_that_is_interrupted_while_it_is_imported_ends_without_a_traceback(number: signal.Signals) -> None:
    hear_ctrl_c()
    for delay in (0.0, 0.1, 0.2):
        process = subprocess.Popen(STARTS, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert process.stdout is not None
        assert process.stdout.readline() == "begun\n"
        time.sleep(delay)
        process.send_signal(number)
        _, said = process.communicate(timeout=60)

        assert (process.returncode, said) == (130, "\nInterrupted.\n")


CLOCK = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>
int clock_gettime(clockid_t clock, struct timespec *at) {
    static int (*real)(clockid_t, struct timespec *);
    if (!real) real = dlsym(RTLD_NEXT, "clock_gettime");
    int code = real(clock, at);
    if (clock == CLOCK_REALTIME && access(getenv("SET_BACK"), F_OK) == 0) at->tv_sec -= 7200;
    return code;
}
"""


@pytest.mark.slow
def test_a_clock_that_is_set_back_by_hours_in_mid_study_changes_no_result(tmp_path: Path) -> None:
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("there is no C compiler to make another clock with")
    (tmp_path / "clock.c").write_text(CLOCK)
    library, set_back = tmp_path / "clock.so", tmp_path / "set-back"
    built = [compiler, "-shared", "-fPIC", "-o", library, tmp_path / "clock.c", "-ldl"]
    subprocess.run(built, check=True)
    reference = run_through(WORKLOADS["toy"], tmp_path / "whole", tmp_path)
    clock = {"LD_PRELOAD": str(library), "SET_BACK": str(set_back)}
    workload = dataclasses.replace(WORKLOADS["toy"], environment={"TOY_SECONDS": "0.2", **clock})
    run = workload.lay_out(tmp_path / "set", tmp_path)
    process = workload.start(tmp_path / "set", "clock")
    while process.poll() is None and len(run.search_records("lora")) < 1:
        time.sleep(0.05)
    set_back.touch()

    assert process.wait(120) == 0, (tmp_path / "set" / "said").read_text()
    records = [record for method in ("lora", "full") for record in run.search_records(method)]
    assert max(record.started_at for record in records) == run.search_records("lora")[0].started_at
    assert all(record.seconds_total >= 0 for record in records)
    assert list(differences(reference.contents, contents(run))) == []
