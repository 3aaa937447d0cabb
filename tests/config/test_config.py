"""Configs: composed of the parts' settings, strict, every error at its place, flags named."""

from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from nas.config import BudgetSettings, Config, Override, changes, from_plain, load, parse_set
from nas.errors import InputError
from nas.train.plugin_files import Plugin

WHOLE = """\
name: fashion
space: fashion_cnn
task: {dataset: fashion_mnist, validation: 0.1}
seed: 1
controller: rl
reward: {maximize: accuracy, limits: {parameters: {at_most: 100_000, weight: 0.07}}}
budget: {trials: 200, time: 1h}
train: {epochs: 6, precision: auto, scale_learning_rate: linear, warmup_epochs: 1, deadline: 10m}
cluster: {kind: local, workers: 2, threads: 1, memory: 4G}
"""
SMALL = "space: digits_cnn\ntask: {dataset: digits}\n"


@pytest.fixture
def write(tmp_path):
    def write(text: str, name: str = "my_search.yaml") -> Path:
        path = tmp_path / name
        path.write_text(text)
        return path

    return write


def problems(call) -> list[str]:
    with pytest.raises(InputError) as caught:
        call()
    return [str(problem) for problem in caught.value.problems]


def test_the_whole_config_of_the_design_reads(write):
    config = load(write(WHOLE))
    assert config.name == "fashion"
    assert config.budget == BudgetSettings(trials=200, time=3600.0)
    assert config.reward.limits["parameters"].at_most == 100_000
    assert config.train.deadline == 600.0
    assert config.cluster.memory == 4 * 2**30
    assert config.controller.kind == "rl"


def test_every_key_but_space_and_task_has_a_default(write):
    config = load(write(SMALL))
    assert (config.name, config.seed, config.controller.kind) == ("my_search", 0, "rl")
    assert (config.budget.trials, config.budget.time) == (100, None)
    assert config.reward.metric == "accuracy"
    found = problems(lambda: load(write("seed: 1\n")))
    assert [p.rpartition(": ")[2] for p in found] == ["the key 'space' is missing", "the key 'task' is missing"]


def test_a_time_alone_leaves_the_trials_unbounded():
    assert BudgetSettings(time=60.0).trials is None
    assert BudgetSettings().trials == 100


@pytest.mark.parametrize(
    ("file", "name"), [("My Search (2).yaml", "my-search-2-.yaml"[:-5]), ("_x.yaml", "x"), ("Ü.yaml", "run")]
)
def test_the_name_comes_from_the_file_as_far_as_names_allow(write, file, name):
    assert load(write(SMALL, file)).name == name


@pytest.mark.parametrize("name", ["A", "-a", ".a", "a/b", "a b", "a\n", "", "a" * 65, "é"])
def test_a_name_that_could_be_another_folder_is_refused(write, name):
    with pytest.raises((ValidationError, InputError)):
        load(write(SMALL), [Override("name", name, f"--set name={name}")])


def test_all_problems_of_a_file_come_at_once_with_their_places(write):
    text = """\
space: digits_cnn
task: {dataset: digitz}
sead: 3
budget: {trials: 0, time: soon}
controller: evolutoin
train:
  epochs: three
cluster: {workers: 0}
reward: {limits: {parameters: {at_most: -1}}}
"""
    path = write(text)
    found = problems(lambda: load(path))
    places = sorted(tuple(map(int, p.removeprefix(f"{path}:").split(":")[:2])) for p in found)
    assert places == [(2, 17), (3, 1), (4, 18), (4, 27), (5, 13), (7, 11), (8, 20), (9, 41)]
    assert any("digits" in p for p in found if ":2:" in p), "the nearest word is named"
    assert any("'seed'" in p for p in found if ":3:" in p)
    assert any("'evolution'" in p for p in found if ":5:" in p)


def test_a_problem_in_a_controllers_settings_has_its_place(write):
    path = write(SMALL + "controller:\n  evolution: {population: 1}\n")
    assert problems(lambda: load(path))[0].startswith(f"{path}:4:27: ")


def test_values_of_flags_win_over_the_file(write):
    overrides = [
        Override("budget.trials", 5, "--trials 5"),
        Override("controller", "optuna:random", "--controller optuna:random"),
        parse_set("train.epochs=3"),
        parse_set("reward={minimize: loss}"),
        parse_set("train.deadline=90s"),
        parse_set("cluster.memory=1e9"),
    ]
    config = load(write(WHOLE), overrides)
    assert config.budget == BudgetSettings(trials=5, time=3600.0)
    assert (config.controller.kind, config.controller.sampler) == ("optuna", "random")
    assert (config.train.epochs, config.train.deadline, config.cluster.memory) == (3, 90.0, 10**9)
    assert config.reward.metric == "loss"


def test_a_setting_of_a_controller_that_is_only_named_can_be_set(write):
    config = load(write(WHOLE), [parse_set("controller.rl.hidden=64")])
    assert config.controller.hidden == 64
    text = problems(lambda: load(write(WHOLE), [parse_set("controller.evolution.sample=2")]))
    assert text == ["--set controller.evolution.sample=2: controller is 'rl', which has no keys"]


@pytest.mark.parametrize(
    ("flag", "message"),
    [
        ("train.epochs", "write --set dotted.key=value"),
        ("=3", "write --set dotted.key=value"),
        ("train..epochs=3", "write --set dotted.key=value"),
        ("train.epochs=", "the value is missing"),
        ("train.epochs=[1", "not YAML"),
    ],
)
def test_a_malformed_set_is_refused_by_name(flag, message):
    (found,) = problems(lambda: parse_set(flag))
    assert found.startswith(f"--set {flag}")
    assert message in found


def test_problems_with_flags_name_the_flag_not_a_place_in_the_file(write):
    overrides = [parse_set("train.epochs=x"), parse_set("train.epoks=3"), Override("budget.trials", 0, "--trials 0")]
    found = problems(lambda: load(write(SMALL), overrides))
    assert sorted(p.partition(": ")[0] for p in found) == ["--set train.epochs=x", "--set train.epoks=3", "--trials 0"]
    assert any("did you mean 'epochs'" in p for p in found)


def test_a_file_that_is_no_mapping_or_not_there_is_said(write):
    assert "mapping" in problems(lambda: load(write("- 1\n")))[0]
    assert "no file here" in problems(lambda: load("no/such.yaml"))[0]


def test_what_the_journal_records_reads_back_equal(write):
    for controller in ("rl", "random", "evolution", "{optuna: {sampler: tpe, n_startup_trials: 5}}"):
        config = load(write(WHOLE.replace("controller: rl", f"controller: {controller}")))
        assert from_plain(config.plain()).plain() == config.plain()


def test_a_journal_of_an_older_version_takes_the_new_keys_defaults(write):
    recorded = load(write(SMALL)).plain()
    del recorded["cluster"], recorded["train"]
    assert from_plain(recorded).plain() == load(write(SMALL)).plain()


def test_a_journal_of_an_older_version_goes_on_without_the_settings_that_are_gone(write):
    recorded = load(write(SMALL)).plain()
    recorded["controller"]["rl"] |= {"dream_weight": 1.0, "entropy_floor": 0.1, "entropy_weight": 1.0}
    assert from_plain(recorded).plain() == load(write(SMALL)).plain()
    assert changes(recorded, load(write(SMALL))) == {}
    recorded["controller"] = {"evolution": {"population": 20, "sample": 5}}
    assert from_plain(recorded).controller.sample == 5
    with pytest.raises(InputError, match="dream_weight"):
        load(write(SMALL + "controller: {rl: {dream_weight: 1.0}}\n"))


def test_a_run_that_began_with_what_is_refused_by_now_goes_on_with_it(write):
    recorded = load(write(SMALL)).plain()
    recorded["cluster"] |= {"kind": "slurm", "hosts": "hosts.txt", "threads": 4, "memory": 8}
    assert from_plain(recorded).cluster.memory == 8
    assert problems(lambda: from_plain(recorded, [parse_set("cluster.memory=9")]))


def test_going_on_may_change_budget_and_cluster_and_says_what_changed(write):
    recorded = load(write(WHOLE)).plain()
    other = [parse_set("budget.trials=300"), parse_set("cluster.workers=8")]
    assert changes(recorded, load(write(WHOLE))) == {}
    assert changes(recorded, load(write(WHOLE), other)) == {"budget.trials": 300, "cluster.workers": 8}


def test_going_on_with_anything_else_changed_names_each_key(write):
    recorded = load(write(WHOLE)).plain()
    other = [parse_set("train.epochs=7"), parse_set("controller=random"), parse_set("budget.trials=300")]
    found = problems(lambda: changes(recorded, load(write(WHOLE), other)))
    assert "train.epochs: the run was started with 6, not 7" in found
    assert any(p.startswith("controller.kind: ") for p in found)
    assert not any(p.startswith("budget.") for p in found)
    assert "--fresh" in found[-1]


def test_where_the_data_lies_is_absolute_and_may_change(write, tmp_path, monkeypatch):
    # A worker, or a resume from another folder, must find the same place.
    monkeypatch.chdir(tmp_path)
    config = load(write(SMALL), [Override("data", "sets", "--data sets")])
    assert config.data == str(tmp_path / "sets")
    assert changes(load(write(SMALL)).plain(), config) == {"data": str(tmp_path / "sets")}


def test_a_config_is_frozen(write):
    config = load(write(SMALL))
    with pytest.raises(ValidationError):
        config.seed = 2


def test_the_space_is_found_beside_the_config(write, monkeypatch, tmp_path):
    path = write("space: mine.yaml\ntask: {dataset: digits}\n")
    (tmp_path / "mine.yaml").write_text("name: mine\n")
    monkeypatch.chdir("/")
    assert load(path).space_document().data == {"name": "mine"}
    assert isinstance(load(path), Config)


# What a hostile reading found ----------------------------------------------------------------------------------------


def test_every_problem_is_told_in_the_order_of_lines_the_space_and_the_reward_among_them(write):
    path = write("name: A B\nspace: nope\ntask: {dataset: digits}\nreward: {maximize: acuracy}\nsead: 1\n")
    found = problems(lambda: load(path, [Override("budget.trials", 0, "--trials 0")]))
    places = [p.split(": ")[0].removeprefix(str(path)) for p in found]
    assert places == ["--trials 0", ":1:7", ":2:8", ":4:20", ":5:1"]


@pytest.mark.parametrize(
    ("reward", "place", "word"),
    [
        ("{maximize: acuracy}", "3:20", "did you mean 'accuracy'"),
        ("{minimize: los}", "3:20", "did you mean 'loss'"),
        ("{maximize: accuracy, limits: {paramters: {at_most: 3}}}", "3:39", "did you mean 'parameters'"),
    ],
)
def test_a_metric_that_no_trial_will_have_is_found_before_any_is_trained(write, reward, place, word):
    path = write(SMALL + f"reward: {reward}\n")
    (found,) = problems(lambda: load(path))
    assert found.startswith(f"{path}:{place}: no metric of classification is called")
    assert word in found


@pytest.mark.parametrize("name", ["parameters", "flops", "seconds", "train_seconds", "peak_memory", "loss", "top5"])
def test_whatever_a_trial_records_may_be_limited(write, name):
    assert load(write(SMALL + f"reward: {{limits: {{{name}: {{at_most: 3}}}}}}\n")).reward.limits[name].at_most == 3


@pytest.mark.parametrize("scheduler", ["median", "extrapolate", "asha"])
def test_a_limit_on_what_only_a_trainings_end_tells_is_none_to_what_stops_trials_before(write, scheduler):
    """Lost without it: a limit that is silently left aside, and small networks stopped for large ones."""
    path = write(
        f"{SMALL}scheduler: {scheduler}\nreward: {{limits: {{seconds: {{at_most: 3}}, flops: {{at_most: 3}}}}}}\n"
    )
    if scheduler == "asha":  # which compares trials that have paused
        assert load(path).reward.limits.keys() == {"seconds", "flops"}
        return
    (found,) = problems(lambda: load(path))
    assert found == (
        f"{path}:4:19: seconds is known when a training has ended, and {scheduler} looks at trials before: "
        "take parameters or flops, or scheduler asha or hyperband"
    )


@pytest.mark.parametrize(
    ("reward", "place"), [("{maximize: top5}", "3:20"), ("{limits: {top5: {at_most: 0.9}}}", "3:19")]
)
def test_a_metric_that_needs_more_classes_than_there_are_is_found_before_any_trial(write, reward, place):
    """Lost without it: a search in which every trial trains to its end and then fails."""

    def task_of(classes):
        x, y = np.zeros((60, 4), np.float32), np.arange(60) % classes
        np.savez(write("").parent / f"{classes}.npz", x=x, y=y)
        return f"space: mlp_tabular\ntask: {{npz: {classes}.npz}}\nreward: {reward}\n"

    path = write(task_of(5))
    why = "top5 is recorded where there are more than 5 classes, and this task has 5; take accuracy or loss"
    assert problems(lambda: load(path)) == [f"{path}:{place}: {why}"]
    load(write(task_of(6)))


def test_a_plugin_that_is_none_is_not_put_down_to_the_task(write):
    (found,) = problems(lambda: load(write(SMALL), plugins=[Plugin("my_parts.py", "x = 3\n")]))
    assert found.startswith("my_parts.py: defines no layer")


def test_a_space_in_the_place_of_a_config_is_called_one(write):
    path = write("name: small\narchitecture: [flatten, {linear: 10}]\nhyperparameters: {}\n")
    (found,) = problems(lambda: load(path))
    assert found.startswith(f"{path}:1:1: this looks like a search space (it has `architecture:`)")


def test_no_time_at_all_is_no_budget(write):
    (found,) = problems(lambda: load(write(SMALL), [Override("budget.time", "0s", "--time 0s")]))
    assert found == "--time 0s: '0s' is wrong here: it should be greater than 0"


@pytest.mark.parametrize(
    ("changed", "lines"),
    [
        (
            "reward={minimize: loss}",
            [
                "reward.maximize: the run was started with 'accuracy', not without",
                "reward.minimize: the run was started without, not with 'loss'",
            ],
        ),
        (
            "reward={limits: {flops: {at_most: 3}}}",
            [
                "reward.limits.flops.at_most: the run was started without, not with 3.0",
                "reward.limits.flops.form: the run was started without, not with 'mnasnet_hard'",
            ],
        ),
        ("controller=random", ["controller.kind: the run was started with 'rl', not 'random'"]),
    ],
)
def test_what_may_not_change_is_said_without_lines_that_say_nothing(write, changed, lines):
    before = load(write(SMALL)).plain()
    for old, new in ((before, [parse_set(changed)]), (load(write(SMALL), [parse_set(changed)]).plain(), [])):
        found = problems(lambda old=old, new=new: changes(old, load(write(SMALL), new)))
        assert len(found) == len(lines) + 1
        assert not [line for line in found if "None" in line or "{}" in line]
        if new:
            assert found[:-1] == lines


def test_a_folder_given_for_a_config_is_called_one(tmp_path):
    with pytest.raises(InputError, match="is a folder; give a config file"):
        load(tmp_path)


def test_several_objectives_are_read_and_recorded(write):
    config = load(write(SMALL + "reward: {objectives: {flops: minimize, accuracy: maximize}}\n"))
    assert config.reward.wishes == {"accuracy": "maximize", "flops": "minimize"}
    assert config.reward.maximize is None
    assert from_plain(config.plain()).plain() == config.plain()


@pytest.mark.parametrize(
    ("objectives", "place", "words"),
    [
        ("{accuracy: minimize, flops: minimize}", "3:23", "it is; write `accuracy: maximize`"),
        ("{accuracy: maximize, flop: minimize}", "3:43", "did you mean 'flops'"),
        ("{accuracy: maximize, top5: maximise}", "3:49", "did you mean 'maximize'"),
        ("{accuracy: maximize}", "3:22", "objectives are two or more"),
    ],
)
def test_wrong_objectives_are_told_at_their_place(write, objectives, place, words):
    path = write(SMALL + f"reward: {{objectives: {objectives}}}\n")
    (found,) = problems(lambda: load(path))
    assert found.startswith(f"{path}:{place}: ")
    assert words in found


@pytest.mark.parametrize(
    ("limits", "place", "word"),
    [
        ("stop: {reward: high}", ":3:16", "the reward as a number, 0.93, or a metric with its number"),
        ("stop: {reward: {flops: 3}}", ":3:16", "'flops' is no objective of this search"),
        ("reward: {minimize: loss}\nstop: {reward: 0.2}", ":4:16", "write {loss: 0.2}"),
        ("train: {deadline: 0}", ":3:19", "greater than 0"),
        ("cluster: {slots_per_gpu: -1}", ":3:26: -1", "it should be auto, or be greater than or equal to 1"),
        ("cluster: {kind: kubernetes}", ":3:10: kind is kubernetes", "say container and claim, too"),
        ("stop: {patience: 0}", ":3:18", "greater than or equal to 1"),
        ("stop: {device_seconds: soon}", ":3:24", "is not a duration"),
        ("budget: {epochs: 0.5}", ":3:18", "valid integer"),
        ("budget: {device_seconds: 0}", ":3:26", "greater than 0"),
    ],
)
def test_a_wrong_limit_is_told_at_its_place(write, limits, place, word):
    (found,) = problems(lambda: load(write(f"space: digits_cnn\ntask: {{dataset: digits}}\n{limits}\n")))
    assert place in found
    assert word in found


@pytest.mark.parametrize(
    ("train", "place", "words"),
    [
        ("{scores: [nazwot]}", "3:18", "did you mean 'naswot'? (allowed: synflow, naswot, grad_norm)"),
        ("{scores: [naswot, naswot]}", "3:8", "scores: naswot, naswot names one of them twice"),
        ("{epochs: 0}", "3:8", "epochs: 0 trains nothing, so that candidates are judged by scores alone"),
        ("{epochs: 2}\nreward: {maximize: naswot}", "4:20", "recorded where train names it: `scores: [naswot]`"),
        (
            "{epochs: 2, scores: [synflow], loss: x}\nreward: {limits: {naswot: {at_most: 3}}}",
            "4:19",
            "recorded where train names it: `scores: [synflow, naswot]`",
        ),
        ("{epochs: 0, scores: naswot}\nscheduler: asha", "4:12", "nothing to pause or to stop; leave asha out"),
        (
            "{epochs: 0, scores: naswot}\nreward: {maximize: accuracy}",
            "4:20",
            "with epochs: 0 nothing is trained, and no trial has accuracy; there are naswot, parameters, flops",
        ),
    ],
)
def test_wrong_scores_are_told_at_their_place(write, train, place, words):
    # A search of hours for a metric that no trial has would end with nothing.
    told = problems(lambda: load(write(f"{SMALL}train: {train}\n")))
    assert any(f":{place}: " in problem and words in problem for problem in told), told


def test_scores_are_wished_for_like_any_metric_and_alone_where_nothing_is_trained(write):
    reward = "reward: {maximize: synflow, limits: {grad_norm: {at_most: 3}}}"
    config = load(write(f"{SMALL}train: {{scores: [synflow, grad_norm]}}\n{reward}\n"))
    assert config.train.scores == ("synflow", "grad_norm") and config.train.epochs == 6
    assert from_plain(config.plain()).plain() == config.plain()
    assert load(write(f"{SMALL}train: {{epochs: 0, scores: naswot}}\n")).reward.maximize == "naswot"
    # What else is wrong in `train` hides which scores there are, and no wish for one is called wrong.
    told = problems(lambda: load(write(f"{SMALL}train: {{epoch: 0, scores: [synflow]}}\n{reward}\n")))
    assert len(told) == 1 and "unknown key 'epoch'" in told[0]
