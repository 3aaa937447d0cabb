"""Whole comparisons on a made-up table: repeatable to the bit, gone on with, and told to people and programs."""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest
from bench_problems import write, write_npz

from nas.bench import command, contenders, ledger
from nas.bench.contenders import code, parse
from nas.bench.tournament import Match
from nas.errors import InputError, Interrupted

ROOT = Path(__file__).parents[2]
DATA = os.environ.get("NAS_BENCH_DATA", "")


def quiet(done: int, total: int) -> None:
    pass


def play(folder: Path, **wishes) -> command.Played:
    given = {"seeds": 4, "controllers": "local_search,random,evolution", "processes": 1, "run": folder / "run"} | wishes
    return command.play(command.Wishes(str(folder / "toy.yaml"), folder, **given), quiet)


def lines(folder: Path) -> list[bytes]:
    return (folder / ledger.FILE).read_bytes().splitlines(keepends=True)


def outcome(played: command.Played) -> list:
    """All that must be the same again: not how long it took here."""

    def kept(run):
        return run.rows, [tuple(one) for one in run.incumbents], run.virtual_seconds

    return [
        {name: {seed: kept(run) for seed, run in runs.items()} for name, runs in found.items()}
        for found in played.results
    ]


def test_the_same_seeds_give_the_same_bits_on_any_number_of_processes(tmp_path):
    write(tmp_path)
    first = play(tmp_path, protocols="all")
    again = play(tmp_path, protocols="all", run=tmp_path / "again", processes=2)
    assert outcome(first) == outcome(again)
    assert len(first.results) == 3
    assert all(len(runs) == 4 for found in first.results for runs in found.values())


def test_what_was_played_is_not_played_again(tmp_path):
    write(tmp_path)
    play(tmp_path, controllers="random", seeds=2)
    assert len(lines(tmp_path / "run")) == 2
    asked: list[tuple[int, int]] = []
    wishes = command.Wishes(
        str(tmp_path / "toy.yaml"), tmp_path, controllers="random,evolution", seeds=3, processes=1, run=tmp_path / "run"
    )
    played = command.play(wishes, lambda done, total: asked.append((done, total)))
    assert asked[0] == (2, 6)
    assert len(lines(tmp_path / "run")) == 6
    assert outcome(played) == outcome(play(tmp_path, controllers="random,evolution", seeds=3, run=tmp_path / "else"))


def test_a_torn_or_altered_line_is_played_again(tmp_path):
    write(tmp_path)
    whole = outcome(play(tmp_path, seeds=3, controllers="random"))
    one, two, three = lines(tmp_path / "run")
    (tmp_path / "run" / ledger.FILE).write_bytes(one + two.replace(b'"seed":10001', b'"seed":10007') + three[:-30])
    assert outcome(play(tmp_path, seeds=3, controllers="random")) == whole
    assert len(lines(tmp_path / "run")) == 5


def test_a_change_of_protocol_table_or_settings_is_another_result(tmp_path):
    write(tmp_path)
    play(tmp_path, seeds=1, controllers="evolution")
    play(tmp_path, seeds=1, controllers="evolution", evaluations=20)
    play(tmp_path, seeds=1, controllers="evolution", workers=3)
    play(tmp_path, seeds=1, controllers="evolution(population=5,sample=2)")
    play(tmp_path, seeds=1, controllers="evolution", tuning=True)
    assert len(lines(tmp_path / "run")) == 5
    text = (tmp_path / "toy.yaml").read_text()
    (tmp_path / "toy.yaml").write_text(text.replace("at: [5, 30]", "at: [6, 30]").replace("final: test", "final: val"))
    play(tmp_path, seeds=1, controllers="evolution")  # only what is told of it is another
    assert len(lines(tmp_path / "run")) == 5
    (tmp_path / "toy.csv").write_text((tmp_path / "toy.csv").read_text() + "\n")
    play(tmp_path, seeds=1, controllers="evolution")  # the table's checksum
    assert len(lines(tmp_path / "run")) == 6
    (tmp_path / "toy.yaml").write_text(text.replace("equals: group\n", ""))
    play(tmp_path, seeds=1, controllers="evolution")  # a run that stopped at an equal of the goal did not find the goal
    assert len(lines(tmp_path / "run")) == 7


def test_everybody_is_told_the_same_of_a_row(tmp_path):
    write(tmp_path)
    played = play(tmp_path, protocols="noisy", evaluations=36, controllers="random,local_search,evolution")
    recorded = played.benchmarks[0]
    for seed in (10_000, 10_001):
        told = {row: recorded.evaluate(seed, row, 0) for row in range(36)}
        for runs in played.results[0].values():
            best = runs[seed].incumbents[-1][1]
            assert max(told[row].metrics["quality"] for row in runs[seed].rows) == told[best].metrics["quality"]


def test_a_time_budget_is_used_and_not_overrun(tmp_path):
    write(tmp_path)
    (run,) = play(tmp_path, protocols="timed", controllers="random", seeds=1).results[0]["random"].values()
    assert run.virtual_seconds == 100
    assert run.reason == "budget"
    assert 2 * 100 / 40 - 2 <= len(run.rows) <= 2 * 100 / 10


CONDITIONAL = """\
name: conditional
space: {hyperparameters: {op: {choice: [skip, {conv: {k: {choice: [3, 5]}}}]}}}
table: toy.csv
cells: {hyperparameters.op: op, 'hyperparameters.op:conv.k': {column: k, inactive: ''}}
protocols: {query: {reward: acc, final: acc, goal: acc, evaluations: 3, report: [reached]}}
"""


def test_whom_nobody_named_is_left_out_of_a_space_that_it_can_not_search(tmp_path, monkeypatch):
    """Lost without it: `nas bench mine.yaml` of any conditional space was refused for a baseline's sake."""
    (tmp_path / "toy.csv").write_text("op,k,acc\nskip,,1\nconv,3,2\nconv,5,3\n")
    (tmp_path / "toy.yaml").write_text(CONDITIONAL)
    with pytest.raises(InputError, match="gp_ucb needs a space without conditions"):
        play(tmp_path, controllers="gp_ucb,random")
    monkeypatch.setattr(contenders, "DEFAULT", ("gp_ucb", "random"))
    said: list[str] = []
    wishes = command.Wishes(str(tmp_path / "toy.yaml"), seeds=2, processes=1, run=tmp_path / "run")
    played = command.play(wishes, quiet, said.append)
    assert [word.partition(" needs")[0] for word in said] == ["left out of all, query: gp_ucb"]
    assert [len(runs) for runs in played.results[0].values()] == [0, 2]
    assert "gp_ucb" not in played.page()
    assert "random" in played.page()
    assert ">random<" in played.picture()
    assert "gp_ucb" not in played.picture()


def test_a_file_is_the_table_of_the_one_data_set_that_is_played(tmp_path):
    path = write_npz(tmp_path)
    wishes = {"controllers": "random", "seeds": 1, "processes": 1, "run": tmp_path / "run"}
    with pytest.raises(InputError, match=r"a table for each data set; give the folder .*, or one --dataset"):
        command.play(command.Wishes(str(path), tmp_path / "second.npz", **wishes), quiet)
    played = command.play(command.Wishes(str(path), tmp_path / "second.npz", "two", **wishes), quiet)
    assert played.benchmarks[0].best == 0


def test_the_order_of_play_and_who_plays_fewer_seeds(tmp_path):
    write(tmp_path)
    played = play(tmp_path, protocols="query,noisy", controllers="random,evolution", seeds=2)
    tournament = command.Tournament(played.benchmarks, parse("random,optuna:gp"), range(100))
    matches = list(tournament.matches())
    assert matches[:4] == [Match(b, c, 0) for b in (0, 1) for c in (0, 1)]
    assert len(matches) == 2 * (100 + 50)


def test_quick_makes_no_search_longer(tmp_path):
    write(tmp_path)
    (quick,) = play(tmp_path, quick=True, seeds=1, controllers="random").benchmarks
    assert (quick.protocol.evaluations, quick.protocol.at) == (30, [5, 30])


def test_searches_that_ended_early_are_told(tmp_path):
    """Lost without it: a table that lacks most candidates looks like one on which nobody finds anything."""
    write(tmp_path)
    text = (tmp_path / "toy.csv").read_text().splitlines()
    (tmp_path / "toy.csv").write_text("\n".join(text[:5]))  # 4 of 36 candidates
    played = play(tmp_path)
    ended = played.plain()["benchmarks"][0]["ended"]
    alike = [f"{name} {ends['diagnosis']}" for name, ends in ended.items() if "diagnosis" in ends]
    assert len(alike) >= 2
    assert f"ended before the budget because most candidates failed alike: {', '.join(alike)}\n" in played.page()
    write(tmp_path)
    assert "ended before" not in play(tmp_path).page()


def test_the_page_and_the_picture(tmp_path):
    write(tmp_path)
    played = play(tmp_path, seeds=6)
    page = played.page()
    assert page.startswith("toy, all, query; seeds 10000 to 10005; 30 evaluations\n")
    assert "p (local_search better)" in page
    assert [line.split()[0] for line in page.splitlines() if line.startswith(("reached", "score", "regret"))] == [
        "reached", "score@5", "score@30", "regret@5", "regret@30",
    ]  # fmt: skip
    drawn = ElementTree.fromstring(played.picture())
    assert len(drawn.findall(".//{*}polyline")) == 3
    assert {"local_search", "random", "evolution", "mean regret"} <= {text.text for text in drawn.iter() if text.text}
    told = played.plain()["benchmarks"][0]["measures"]["reached"]
    assert [line["controller"] for line in told] == ["local_search", "random", "evolution"]
    assert told[0]["p"] is None
    assert 0 <= told[1]["p"] <= 1
    assert len(told[1]["values"]) == 6
    json.dumps(played.plain(), allow_nan=False)


def test_controllers_with_settings_are_read():
    found = parse("rl(edits=0,floor=0.5), optuna:tpe(n_startup_trials=5),random,random")
    assert [one.name for one in found] == ["rl(edits=0,floor=0.5)", "optuna:tpe(n_startup_trials=5)", "random"]
    assert found[1].identity()["settings"] == {"sampler": "tpe", "n_startup_trials": 5}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("rll", "no controller 'rll'; did you mean 'rl'"),
        ("evolution(population=1)", "population"),
        ("evolution(popula=30)", "unknown key 'popula'"),
        ("evolution(30)", "key=value"),
        ("gp_ucb(beta=2)", "gp_ucb has no settings"),
        ("rl(edits=)", "in 'rl.edits=.' a setting is written key=value, not 'edits='"),
        ("rl(edits=0,edits=1)", "sets the same thing twice"),
        ("optuna:tpe(sampler=gp)", "names two samplers"),
        ("", "is no controller"),
        ("optuna:tpee", "tpe"),
    ],
)
def test_wrong_controllers_are_refused(words, message):
    with pytest.raises(InputError, match=message):
        parse(words)


def test_results_are_not_kept_in_a_file(tmp_path):
    write(tmp_path)
    with pytest.raises(InputError, match=r"--run .*toy\.csv: this is a file"):
        play(tmp_path, run=tmp_path / "toy.csv")


def test_the_digest_of_code_does_not_depend_on_words_of_comments(monkeypatch, tmp_path):
    """Lost without it: results of an older controller are taken for the present one's, or all are played again."""
    before, other = code("controllers.evolution"), code("controllers.random")
    assert before != other
    assert {"controllers.evolution", "machine", "space.space", "bench.simulation"} <= contenders._reachable(
        "controllers.evolution"
    ) | contenders._reachable("machine") | contenders._reachable("bench.trace")
    assert "controllers.rl" not in contenders._reachable("controllers.evolution")
    text = (ROOT / "nas" / "controllers" / "evolution.py").read_text()
    changed = tmp_path / "evolution.py"
    found = contenders._file
    monkeypatch.setattr(contenders, "_file", lambda name: changed if name == "controllers.evolution" else found(name))
    digests = []
    for new in (
        text + "\n# a remark\n",
        text.replace('"""Regularized', '"""Well regularized'),
        text.replace("FURTHER = 5", "FURTHER = 6"),
    ):
        changed.write_text(new)
        for cached in (contenders.code, contenders._tree, contenders._essence, contenders._reachable):
            cached.cache_clear()
        digests.append(code("controllers.evolution"))
    monkeypatch.undo()
    for cached in (contenders.code, contenders._tree, contenders._essence, contenders._reachable):
        cached.cache_clear()
    assert digests[:2] == [before, before]
    assert digests[2] != before


# The command ---------------------------------------------------------------------------------------------------------


def nas(*words: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    known = {key: value for key, value in os.environ.items() if key != "NAS_BENCH_DATA"} | environment
    return subprocess.run([sys.executable, "-m", "nas", *words], capture_output=True, text=True, cwd=cwd, env=known)


def test_the_command_prints_json_and_draws(tmp_path):
    write_npz(tmp_path)
    words = [
        "bench",
        "matrix.yaml",  # its tables lie beside it
        "--controllers",
        "random,reinforce",
        "--seeds",
        "2",
        "--plot",
        "p.svg",
    ]
    done = nas(*words, "--json", "--protocol", "all", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert [(b["dataset"], b["protocol"]) for b in told["benchmarks"]] == [
        ("one", "query"), ("one", "noisy"), ("two", "query"), ("two", "noisy"),
    ]  # fmt: skip
    assert (tmp_path / "runs" / "bench" / "matrix" / ledger.FILE).is_file()
    assert (tmp_path / "p.svg").read_text().startswith("<svg")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["hpolib"], "where is hpolib/hpolib_naval_propulsion.npz? give --table FILE, or the folder above it in NAS_B"),
        (
            ["toy.yaml", "--table", "toy.csv", "--controllers", "rl(oops)", "--plot", "no/x.svg"],
            "--plot no/x.svg: the folder no is not there",  # before anything else
        ),
        (["toy.yaml", "--table", "no.csv"], "no.csv: the table cannot be read: No such file"),
        (["toy.yaml", "--table", "toy.csv", "--protocol", "querry"], "did you mean 'query'"),
        (
            ["toy.yaml", "--table", "toy.csv", "--dataset", "cifar"],
            "--dataset cifar: the benchmark has none of that name",
        ),
        (["nasbench"], "no benchmark of that name is shipped (nearest: nasbench201)"),
        (["matrix.yaml", "--table", "first.npz"], "has a table for each data set; give the folder above"),
    ],
)
def test_wrong_flags_are_one_message_and_exit_code_2(tmp_path, words, message):
    write(tmp_path)
    write_npz(tmp_path)
    done = nas("bench", *words, cwd=tmp_path)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.skipif(not DATA, reason="set NAS_BENCH_DATA to the folder that holds nasbench201/ and hpolib/")
@pytest.mark.parametrize("name", ["nasbench201", "hpolib"])
def test_a_short_run_on_a_recorded_table(tmp_path, name):
    wishes = command.Wishes(
        name, Path(DATA), controllers="gp_ucb,local_search,random", seeds=1, evaluations=30, processes=1, run=tmp_path
    )
    played = command.play(wishes, quiet)
    again = command.play(
        command.Wishes(
            name, Path(DATA), controllers="gp_ucb", seeds=1, evaluations=30, processes=1, run=tmp_path / "2"
        ),
        quiet,
    )
    assert outcome(again)[0]["gp_ucb"] == outcome(played)[0]["gp_ucb"]
    assert all(len(run.rows) == 30 for found in played.results for runs in found.values() for run in runs.values())


def test_a_killed_process_is_one_message_and_the_comparison_goes_on(tmp_path):
    """Lost without it: whom the kernel took memory from reads a traceback and of a bug."""
    write(tmp_path)

    def kill(done: int, total: int) -> None:
        if done:
            for child in multiprocessing.active_children()[:1]:  # none, when they are dead and results still come
                with contextlib.suppress(ProcessLookupError):
                    os.kill(child.pid, signal.SIGKILL)

    given = {"controllers": "random", "seeds": 300, "run": tmp_path / "run"}
    wishes = command.Wishes(str(tmp_path / "toy.yaml"), **given, processes=2)
    with pytest.raises(Interrupted, match=r"was killed.*fewer --processes; what was played is kept in .*goes on"):
        command.play(wishes, kill)
    kept = lines(tmp_path / "run")
    assert kept
    assert outcome(play(tmp_path, **given)) == outcome(play(tmp_path, **given | {"run": tmp_path / "other"}))
    assert lines(tmp_path / "run")[: len(kept)] == kept


def test_ctrl_c_keeps_what_was_played_and_leaves_no_process(tmp_path):
    write(tmp_path)
    words = [
        "bench",
        "toy.yaml",
        "--table",
        "toy.csv",
        "--controllers",
        "random",
        "--seeds",
        "10000",
        "--processes",
        "2",
    ]
    running = subprocess.Popen(
        [sys.executable, "-m", "nas", *words], cwd=tmp_path, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    results = tmp_path / "runs" / "bench" / "toy" / ledger.FILE
    while not (results.is_file() and results.stat().st_size):
        assert running.poll() is None
        time.sleep(0.05)
    running.send_signal(signal.SIGINT)
    _, said = running.communicate(timeout=60)
    assert running.returncode == 75
    assert "the same command goes on" in said
    assert "Traceback" not in said
    assert len(lines(results.parent)) >= 1
    with pytest.raises(ProcessLookupError):
        os.killpg(running.pid, 0)
