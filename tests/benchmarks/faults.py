"""Real tiny studies, killed at random moments in every phase and run again until they end: what does that cost?

    python tests/benchmarks/faults.py --minutes 30 --workloads toy lanes "toy over Ray" --save faults.jsonl

Each study is first run once without a kill. Then, as long as there is time, another copy of it is started, and killed
at a random moment by SIGKILL, SIGTERM or SIGINT: its driver alone, its worker alone, its process group, or every
process of it; over Ray also Ray's own process above the worker, the node that it runs on, or the whole cluster, which
are then replaced. The same `sweep run` is given again, killed again, and at last let to its end. What it then holds is
compared with the run without a kill: trials, params, scores, Optuna's states, the report's numbers, MLflow's runs.

`--save` adds a line of JSON for every study that was killed; given again, the table counts them all. Exit code 1 where
anything was lost, repeated, different or left running.
"""

import argparse
import json
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "toys"))

from killed_cluster import KilledCluster, killed_cluster
from killed_workloads import WORKLOADS
from killing import COUNTS, Episode, Kill, Reference, Tormentor, run_through
from tiny_llama import save_tiny_llama

PHASES = ("start", "baseline", "search", "confirm", "report", "end")
KILLS_PER_STUDY = 6


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10.0, help="when to begin no further study")
    parser.add_argument("--kills", type=int, default=10**6, help="after which to stop, those in --save counted")
    parser.add_argument("--workloads", nargs="+", choices=WORKLOADS, default=list(WORKLOADS))
    parser.add_argument("--save", type=Path, help="file that every killed study gets a line in")
    parser.add_argument("--keep", type=Path, help="directory that studies are kept in; left out, none is")
    parser.add_argument("--seed", type=int, default=0, help="of the first study; counts on from those in --save")
    given = parser.parse_args()
    episodes = read(given.save) if given.save and given.save.exists() else []
    away = any(WORKLOADS[name].is_away for name in given.workloads)
    with tempfile.TemporaryDirectory(prefix="faults-") as temporary, killed_cluster(wanted=away) as cluster:
        torment(given, given.keep or Path(temporary), episodes, cluster)
    print(table(episodes))  # noqa: T201
    return 0 if all(episode.is_clean for episode in episodes) else 1


def torment(
    given: argparse.Namespace, place: Path, episodes: list[Episode], cluster: KilledCluster | None = None
) -> None:
    """Kill one study after another until the time is up, and add what became of them."""
    until = time.monotonic() + given.minutes * 60
    model = place / "model"
    if not model.exists() and any(WORKLOADS[name].is_real for name in given.workloads):
        save_tiny_llama(model)
    references: dict[str, Reference] = {}
    while time.monotonic() < until and sum(len(one.kills) for one in episodes) < given.kills:
        # The workload with the fewest kills is next.
        name = min(given.workloads, key=lambda each: sum(len(o.kills) for o in episodes if o.workload == each))
        workload = WORKLOADS[name]
        where = cluster if workload.is_away else None
        stamp = f"{name.replace(' ', '-')}-{time.time_ns()}"
        if name not in references:
            references[name] = run_through(workload, place / f"whole-{stamp}", model, where)
            tell(f"{name}: {references[name].seconds:.1f} s without a kill")
        seed = given.seed + len(episodes)
        tormentor = Tormentor(workload, references[name], place / stamp, model, seed, where)
        left = given.kills - sum(len(one.kills) for one in episodes)
        episode = tormentor.torment(min(KILLS_PER_STUDY, left), until)
        episodes.append(episode)
        if given.save:
            with given.save.open("a") as stream:
                stream.write(json.dumps(as_json(episode)) + "\n")
        per_kill = episode.seconds / max(1, len(episode.kills))
        words = "".join(f"\n  {line}" for line in episode.words)
        tell(f"{name} {seed}: {len(episode.kills)} kills, {per_kill:.1f} s each{words}")


def table(episodes: list[Episode]) -> str:
    """How often what happened, by workload and phase, as Markdown."""
    lines = ["| workload | phase | " + " | ".join(COUNTS) + " | s a kill |", "|---" * (len(COUNTS) + 3) + "|"]
    for name in dict.fromkeys(episode.workload for episode in episodes):
        mine = [episode for episode in episodes if episode.workload == name]
        counts: Counter[tuple[str, str]] = sum((episode.counts for episode in mine), Counter())
        for phase in PHASES:
            row = [counts[phase, what] for what in COUNTS]
            if any(row):
                lines.append(f"| {name} | {phase} | " + " | ".join(map(str, row)) + " | |")
        kills = sum(len(episode.kills) for episode in mine)
        whole = [sum(counts[phase, what] for phase in PHASES) for what in COUNTS]
        spent = sum(episode.seconds for episode in mine) / max(1, kills)
        lines.append(f"| {name} | **all, {len(mine)} studies** | " + " | ".join(map(str, whole)) + f" | {spent:.1f} |")
    everything = [sum(episode.total(what) for episode in episodes) for what in COUNTS]
    lines.append(f"| **all** | **{len(episodes)} studies** | " + " | ".join(f"**{n}**" for n in everything) + " | |")
    return "\n".join(lines)


def as_json(episode: Episode) -> dict[str, object]:
    return {
        "workload": episode.workload,
        "seed": episode.seed,
        "seconds": round(episode.seconds, 2),
        "kills": [[kill.phase, kill.victim, kill.signal, kill.seconds] for kill in episode.kills],
        "counts": [[phase, what, count] for (phase, what), count in episode.counts.items() if count],
        "words": episode.words,
    }


def read(path: Path) -> list[Episode]:
    """Studies that were killed before."""
    found = []
    for line in path.read_text().splitlines():
        one = json.loads(line)
        counts = Counter({(phase, what): count for phase, what, count in one["counts"]})
        kills = [Kill(*kill) for kill in one["kills"]]
        found.append(Episode(one["workload"], one["seed"], kills, counts, one["words"], one["seconds"]))
    return found


def tell(text: str) -> None:
    print(text, file=sys.stderr, flush=True)  # noqa: T201


if __name__ == "__main__":
    sys.exit(main())
