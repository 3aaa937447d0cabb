"""Tables and benchmarks as people write them: what is read, and what is said of what is wrong, at its place."""

from __future__ import annotations

import io
import itertools
import math
import zipfile
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from bench_problems import SPEC, rows, write, write_npz

from nas.bench import spec as specs
from nas.bench import table as tables
from nas.bench.measures import measures
from nas.bench.recorded import QUALITY, Recorded, join, read_space
from nas.bench.trace import Trace, play
from nas.controllers import make, parse
from nas.controllers.random import RandomController
from nas.errors import InputError
from nas.records import Failed, Succeeded


def recorded(path: Path, protocol: str = "query", dataset: str | None = None) -> Recorded:
    said, document = specs.load(str(path))
    dataset = dataset or next(iter(said.datasets))
    table = tables.read(path.parent / said.table.replace(specs.DATASET, said.datasets[dataset]))
    return join(said, document, read_space(said, document), table, dataset, protocol, said.protocols[protocol])


@pytest.mark.parametrize("compressed", [False, True])
def test_every_draw_finds_its_row(tmp_path, compressed):
    toy = recorded(write(tmp_path, compressed=compressed))
    names = [decision.path for decision in toy.space.decisions]
    for row, (width, kind, layers) in enumerate(itertools.product(range(3), range(3), range(1, 5))):
        assert toy.rows.of(dict(zip(names, (width, kind, layers), strict=True))) == row
    assert toy.rows.of(dict.fromkeys(names, 99)) is None


def test_the_order_of_rows_does_not_matter(tmp_path):
    write(tmp_path)
    header, *lines = (tmp_path / "toy.csv").read_text().splitlines()
    (tmp_path / "toy.csv").write_text("\n".join([header, *reversed(lines)]) + "\n")
    toy = recorded(tmp_path / "toy.yaml")
    names = [decision.path for decision in toy.space.decisions]
    assert toy.rows.of(dict(zip(names, (2, 2, 4), strict=True))) == 0
    assert toy.best == 0


def test_a_matrix_of_indices_and_a_table_for_each_data_set(tmp_path):
    path = write_npz(tmp_path)
    for dataset, best in (("one", 8), ("two", 0)):
        matrix = recorded(path, dataset=dataset)
        names = [decision.path for decision in matrix.space.decisions]
        assert [matrix.rows.of(dict(zip(names, (i, j), strict=True))) for i in range(3) for j in range(3)] == [
            *range(9)
        ]
        assert matrix.best == best
        told = matrix.evaluate(0, 1, 0)
        assert isinstance(told, Succeeded)
        assert told.metrics[QUALITY] == pytest.approx(-math.log(matrix.final[1]))  # lower is better, on a log scale


def test_true_and_a_tenth_of_32_bits_are_what_yaml_means(tmp_path):
    flags, rates = np.array([True, False]), np.array([0.1, 0.3], np.float32)
    np.savez(tmp_path / "t.npz", flag=np.repeat(flags, 2), rate=np.tile(rates, 2), acc=np.arange(4.0))
    (tmp_path / "t.yaml").write_text(
        "name: t\nspace: {hyperparameters: {flag: {choice: [true, false]}, rate: {choice: [0.1, 0.3]}}}\ntable: t.npz\n"
        "cells: {hyperparameters.flag: flag, hyperparameters.rate: rate}\n"
        "protocols: {query: {reward: acc, final: acc, evaluations: 4}}\n"
    )
    rows = recorded(tmp_path / "t.yaml").rows
    assert [rows.of({"hyperparameters.flag": i, "hyperparameters.rate": j}) for i in (0, 1) for j in (0, 1)] == [
        *range(4)
    ]


def test_noise_is_a_function_of_seed_row_and_visit(tmp_path):
    toy = recorded(write(tmp_path), "noisy")

    def told(seed: int, row: int, visit: int) -> float:
        outcome = toy.evaluate(seed, row, visit)
        assert isinstance(outcome, Succeeded)
        return outcome.metrics[QUALITY]

    assert all(told(s, 7, v) == told(s, 7, v) for s in range(5) for v in range(5))
    counts = Counter(told(seed, 7, visit) for seed in range(100) for visit in range(10))
    value = float(rows()[7]["val"])
    assert counts.keys() == {value - 1, value + 1}
    assert abs(counts[value - 1] - 500) < 4 * math.sqrt(250)
    assert {told(seed, 0, 0) for seed in range(50)} == {float(rows()[0]["val"]) - 1}  # the other training was not done


def test_what_was_not_recorded_fails(tmp_path):
    toy = recorded(write(tmp_path))
    assert toy.evaluate(0, None, 0) == Failed("invalid", "the table has no such candidate")
    (tmp_path / "toy.csv").write_text((tmp_path / "toy.csv").read_text().replace("8,p,1,1,", "8,p,1,,"))
    outcome = recorded(tmp_path / "toy.yaml").evaluate(0, 0, 0)
    assert isinstance(outcome, Failed)
    assert outcome.kind == "diverged"


def test_a_conditional_decision_has_a_cell_for_not_active(tmp_path):
    (tmp_path / "t.csv").write_text("op,k,acc\nskip,-,1\nconv,3,2\nconv,5,3\n")
    (tmp_path / "t.yaml").write_text(
        "name: t\nspace: {hyperparameters: {op: {choice: [skip, {conv: {k: {choice: [3, 5]}}}]}}}\ntable: t.csv\n"
        "cells: {hyperparameters.op: op, 'hyperparameters.op:conv.k': {column: k, inactive: '-'}}\n"
        "protocols: {query: {reward: acc, final: acc, evaluations: 3}}\n"
    )
    read = recorded(tmp_path / "t.yaml")
    assert read.rows.of({"hyperparameters.op": 0}) == 0
    assert read.rows.of({"hyperparameters.op": 1, "hyperparameters.op:conv.k": 1}) == 2


# Wrong input ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("goal: val", "goal: vall", r"yaml:\d+:11: .*no column 'vall'; did you mean 'val'"),
        ("hyperparameters.layers: layers", "hyperparameters.layer: layers", r"yaml:12:3: .*no decision .*; did you"),
        ("hyperparameters.layers: layers\n", "\n", r"yaml:9:1: no cell for .*layers'"),
        ("wide: w, deep: d", "wide: w", r"yaml:11:\d+: values have nothing for deep"),
        ("deep: d}", "deep: x}", r"yaml:11:\d+: .*toy.csv:10: 'd' is none of .*: p, w, x"),
        ("evaluations: 30", "evaluation: 30", r"yaml:19:5: unknown key 'evaluation'; did you mean 'evaluations'"),
        ("    evaluations: 12\n", "", r"yaml:\d+:\d+: .*evaluations or seconds"),
        ("report: [regret]", "report: [regrets]", r"'regrets' is not allowed; did you mean 'regret'"),
        ("{column: cost}", "{column: code}", r"toy.csv:2: 'p' in column code is no number"),
        ("final: test", "final: {one_of: [val_0]}", r"final says one_of"),
        ("equals: group", "equals: groups", r"yaml:13:9: .*no column 'groups'; did you mean 'group'"),
        ("{int: [1, 4]}", "{float: [1, 4]}", r"yaml:12:\d+: .*is a real number"),
        ("    reward: val\n", "    reward: nothing\n", r"yaml:\d+:13: the column nothing has no number"),
        ("column: code", "column: 'code[3]'", r"toy.csv:2: 'p' in column code has no character 3"),
        ("wide: w, deep: d", "wide: w, deep: w", r"yaml:11:\d+: two options of .*kind' are written alike"),
        ("layers: layers\n", "layers: {column: layers, inactive: 2}\n", r"yaml:12:\d+: inactive: 2 is what"),
        ("{int: [1, 4]}", "{int: [1, 1000000000000]}", r"yaml:12:\d+: .* has 1,000,000,000,000 values, more than"),
        ("{column: cost}", "{column: val_1}", r"yaml:\d+:24: .*toy.csv:2: the duration is missing"),
        ("at: [5, 30]", "at: [5, 300]", r"yaml:16:5: at says 300, and a search has 30 evaluations"),
        ("seconds: 100", "seconds: {al: 9}", r"yaml:\d+:14: no seconds for .* 'all'\n.*no data set 'al'; did you mean"),
        ("{column: cost}", "{column: cost, constant: 3}", r"^[^\n]* unknown key 'constant' \(allowed: column[^\n]*$"),
        ("{column: cost}", "{log_normal: {mean: 60, sigma: 1.0e+200}}", r"1e\+200 is wrong here: it should be less"),
        ("{column: cost}", "cost", r"^[^\n]*'cost' is wrong here: it should be {column: ...}, {con"),
        ("reward: val\n", "reward: {mean: val}\n", r"yaml:16:\d+: a mapping is wrong here: it should be a column"),
        ("equals: group", "equals: group\nscale: log", r"yaml:\d+:\d+: .*toy.csv:2: 0 has no logarithm"),
        ("final: test", "final: one", r"log_regret: all rows have the same final score"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_at_its_place(tmp_path, old, new, message):
    assert SPEC.count(old) >= 1
    with pytest.raises(InputError, match=message):
        path = write(tmp_path, SPEC.replace(old, new, 1))
        for protocol in ("query", "timed", "noisy"):
            recorded(path, protocol)


def test_a_missing_column_is_told_once_however_many_cells_name_it(tmp_path):
    """Lost without it: one wrong word is a page of errors, and a second one is not seen among them."""
    text = SPEC.replace("width: width", "width: ops[0]").replace("column: code", "column: 'ops[1]'")
    with pytest.raises(InputError) as caught:
        recorded(write(tmp_path, text.replace("layers: layers", "layers: layer")))
    first, second = caught.value.problems
    assert (first.line, second.line) == (10, 12)
    assert "no column 'ops'" in first.message and "no column 'layer'; did you mean 'layers'" in second.message


def test_a_negative_duration_is_said_with_its_line(tmp_path):
    path = write(tmp_path)
    (tmp_path / "toy.csv").write_text((tmp_path / "toy.csv").read_text().replace(",10,0,", ",-10,0,"))
    with pytest.raises(InputError, match=r"yaml:\d+:24: .*toy.csv:2: the duration is -10; every row needs one"):
        recorded(path, "timed")


def test_a_space_that_is_not_there_is_said_at_its_place(tmp_path):
    text = SPEC[: SPEC.index("space:")] + "space: nowhere\n" + SPEC[SPEC.index("table:") :]
    with pytest.raises(InputError, match=r"yaml:2:8: 'nowhere' is no file here"):
        recorded(write(tmp_path, text))


def zipped(**files: bytes) -> bytes:
    raw = io.BytesIO()
    with zipfile.ZipFile(raw, "w") as archive:
        for name, held in files.items():
            archive.writestr(name, held)
    return raw.getvalue()


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"a,b\n1,2\n3\n", r"toy.csv:3: 1 cells, and 2 names"),
        (b"a,a\n1,2\n", r"toy.csv:1: two columns are called 'a'"),
        (b"a,b\n", "at least one row"),
        (b"\x1f\x8bnonsense", "neither NPZ nor CSV"),
        (b"PK\x03\x04nonsense", "no NPZ of plain arrays"),
        (b"a,b\n\xff,1\n", "neither NPZ nor CSV"),
        (b'a,b\n"1\n1",2\n\n3\n', r"toy.csv:5: 1 cells, and 2 names"),
        (zipped(notes=b"hello"), "no NPZ of plain arrays: it holds notes"),
        (zipped(), "no NPZ of plain arrays: it holds nothing"),
    ],
)
def test_what_is_no_table_is_refused(tmp_path, raw, message):
    (tmp_path / "toy.csv").write_bytes(raw)
    with pytest.raises(InputError, match=message):
        tables.read(tmp_path / "toy.csv")


def test_a_table_that_is_no_file_is_refused():
    with pytest.raises(InputError, match="/dev/zero: is no ordinary file"):
        tables.read(Path("/dev/zero"))


def test_lines_are_counted_as_an_editor_counts_them(tmp_path):
    """Lost without it: after a cell with a line break every error names the wrong line."""
    (tmp_path / "toy.csv").write_text('note,a\r\n"two\r\nlines",1\r\n\r\n,2\r\n')
    table = tables.read(tmp_path / "toy.csv")
    assert [table.line(row) for row in range(table.rows)] == [3, 5]
    assert table.numbers("a").tolist() == [1, 2]


def test_pickles_are_not_read(tmp_path):
    np.savez(tmp_path / "t.npz", a=np.array([{}, {}], object))
    with pytest.raises(InputError, match="no NPZ of plain arrays"):
        tables.read(tmp_path / "t.npz")


def test_two_rows_of_one_candidate_are_refused(tmp_path):
    path = write(tmp_path)
    lines = (tmp_path / "toy.csv").read_text().splitlines()
    (tmp_path / "toy.csv").write_text("\n".join([*lines, lines[4]]) + "\n")
    with pytest.raises(InputError, match=r"toy.csv:38 holds the same candidate as .*toy.csv:5"):
        recorded(path)


@pytest.mark.parametrize("name", ["nasbench201", "hpolib"])
def test_shipped_benchmarks_read_with_their_spaces(name):
    said, document = specs.load(name)
    assert said.name == name
    assert {d.path for d in read_space(said, document).decisions} == set(said.cells)


# What a table may lack -----------------------------------------------------------------------------------------------


def told(path: Path, *rows: int, **changes) -> dict[str, float]:
    """By measure, of one run that evaluated these rows, each better than all before."""
    read = replace(recorded(path), **changes)
    trace = Trace(rows, [(n, row) for n, row in enumerate(rows, start=1)], 0.0, 0.0, "budget")
    return {measure.name: measure.values[0] for measure in measures(read, [trace])}


def test_a_pick_without_a_final_score_is_a_failure(tmp_path):
    """Lost without it: NaN among the values, with which neither percentiles nor signed ranks are what they say."""
    path = write(tmp_path)
    (tmp_path / "toy.csv").write_text((tmp_path / "toy.csv").read_text().replace("8,p,2,2,2.5", "8,p,2,2,"))
    found = told(path, 0, 1)
    assert found["score@5"] == -math.inf
    assert found["regret@5"] == found["log_regret@5"] == math.inf
    assert told(path, 0)["log_regret@5"] == pytest.approx(math.log10(29))  # 30.5 less 1.5


def test_an_empty_cell_of_equals_is_a_group_of_its_own(tmp_path):
    """Lost without it: where only some rows have equals, the first evaluation of any other row is the goal."""
    path = write(tmp_path)
    header, *lines = (line.split(",") for line in (tmp_path / "toy.csv").read_text().splitlines())
    for line in lines:
        line[header.index("group")] = ""
    (tmp_path / "toy.csv").write_text("\n".join(",".join(line) for line in [header, *lines]))
    goal = recorded(path).goal
    assert goal is not None
    assert np.flatnonzero(goal).tolist() == [35]


def test_a_matrix_of_groups_is_refused(tmp_path):
    path = write_npz(tmp_path)
    path.write_text(path.read_text().replace("better: lower", "better: lower\nequals: config"))
    path.write_text(path.read_text().replace("evaluations: 9, at", "goal: {mean_of: loss}, evaluations: 9, at"))
    with pytest.raises(InputError, match=r"yaml:\d+:9: 'config' has 2 columns; name one, config\[0\]"):
        recorded(path)


def test_a_row_without_any_training_is_no_warning(tmp_path, recwarn):
    write(tmp_path)
    (tmp_path / "toy.csv").write_text((tmp_path / "toy.csv").read_text().replace(",0,,", ",,,", 1))
    outcome = recorded(tmp_path / "toy.yaml", "noisy").evaluate(0, 0, 0)
    assert isinstance(outcome, Failed)
    assert not recwarn.list


# Time -----------------------------------------------------------------------------------------------------------------


class Listening(RandomController):
    """What a search tells its controller."""

    def __init__(self, space, seed):
        super().__init__(space, seed)
        self.seconds = []

    def tell(self, proposal, result):
        self.seconds.append(result.seconds)


def test_a_protocol_of_time_alone_tells_durations_as_a_real_search_does(tmp_path):
    path = write(tmp_path)

    def told(protocol):
        benchmark = recorded(path, protocol)
        listening = Listening(benchmark.space, 0)
        return listening.seconds, play(benchmark, listening, 0).rows

    seconds, trained = told("timed")
    assert [one for one in seconds if one is not None] == [10.0 * (row % 4 + 1) for row in trained]  # not of repeats
    assert set(told("query")[0]) == {None}


def test_durations_come_from_the_table_or_a_distribution(tmp_path):
    timed = recorded(write(tmp_path), "timed")
    assert [timed.duration(0, row, 5, 0) for row in range(4)] == [10.0, 20.0, 30.0, 40.0]
    text = SPEC.replace("duration: {column: cost}", "duration: {log_normal: {mean: 60, sigma: 1.2}}")
    drawn = recorded(write(tmp_path, text), "timed")
    seconds = [drawn.duration(1, 0, trial, 0) for trial in range(20_000)]
    logs = np.log(seconds)
    assert abs(logs.mean() - (math.log(60) - 0.72)) < 4 * 1.2 / math.sqrt(20_000)  # E[log] = log(mean) - sigma^2 / 2
    assert abs(logs.std() - 1.2) < 4 * 1.2 / math.sqrt(2 * 20_000)
    assert drawn.duration(1, 0, 7, 0) == seconds[7]
    assert drawn.duration(1, 0, 7, 1) != seconds[7]  # another attempt lasts otherwise


def test_a_search_ends_where_no_measure_could_change(tmp_path):
    toy = recorded(write(tmp_path))
    early = play(toy, make(parse("evolution"), toy.space, 4), 4)
    whole = play(replace(toy, goal=None), make(parse("evolution"), toy.space, 4), 4)
    assert (early.reason, whole.reason) == ("goal", "budget")
    assert len(early.rows) < len(whole.rows) == 30
    assert early.incumbents[-1][1] == 35  # the best; its equal, 31, is the goal too and tells less
    assert early.rows == whole.rows[: len(early.rows)]
    assert measures(toy, [early]) == measures(toy, [whole])


def test_a_protocol_with_deaths_evaluates_as_much(tmp_path):
    text = SPEC.replace(
        "    at: [5, 30]\n", "    at: [5, 30]\n    workers: 6\n    deaths: {share: 0.3, replaced_after: 2m}\n"
    )
    toy = replace(recorded(write(tmp_path, text)), goal=None)  # else it would end at the goal
    trace = play(toy, make(parse("evolution"), toy.space, 1), 1)
    assert len(trace.rows) == 30
    assert -1 not in trace.rows
    again = play(toy, make(parse("evolution"), toy.space, 1), 1)
    assert (again.rows, again.virtual_seconds) == (trace.rows, trace.virtual_seconds)
    assert trace.virtual_seconds > 30 * 60 / 6  # what it would have been without deaths
