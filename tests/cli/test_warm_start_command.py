"""`nas search --warm-start`: the line at the start, what is refused with exit code 2, and the config's own key."""

import pytest
from test_cli import CONFIG, SPACE, nas

from nas import store
from nas.records import Taught


@pytest.fixture
def project(tmp_path):
    (tmp_path / "tiny.yaml").write_text(CONFIG.replace("random", "evolution"))
    (tmp_path / "space.yaml").write_text(SPACE)
    return tmp_path


def test_a_search_says_what_it_was_taught_and_goes_on_without_saying_it_again(project):
    first = nas("search", "tiny.yaml", "--trials", "2", cwd=project)
    assert first.returncode == 0, first.stderr
    (project / "wider.yaml").write_text(SPACE.replace("[2, 4,", "[3, 2, 4,"))
    words = ("search", "tiny.yaml", "--set", "space=wider.yaml", "--fresh", "--trials", "2")
    taught = nas(*words, "--warm-start", "runs/tiny", cwd=project)
    assert taught.returncode == 0, taught.stderr
    assert f"taught from {project}/runs/tiny: 2 trials\n" in taught.stderr
    events = [entry.event for entry in store.read(project / "runs" / "tiny-2" / "journal")]
    (lessons,) = [event.lessons for event in events if isinstance(event, Taught)]
    assert [lesson.trial for lesson in lessons] == [0, 1]
    again = nas("search", "tiny.yaml", "--warm-start", "runs/tiny", cwd=project)  # which is runs/tiny itself
    assert again.returncode == 2
    assert "--warm-start runs/tiny is this run itself; --fresh starts a new one that learns from it" in again.stderr


def test_what_can_not_teach_is_refused_before_there_is_a_folder(project):
    done = nas("search", "tiny.yaml", "--warm-start", "nowhere", cwd=project)
    assert done.returncode == 2
    assert f"--warm-start nowhere: {project}/nowhere: no such folder" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (project / "runs").exists()


def test_a_config_may_say_it_too_and_is_blamed_at_its_place(project):
    (project / "tiny.yaml").write_text(CONFIG.replace("random", "evolution") + "warm_start: nowhere\n")
    done = nas("search", "tiny.yaml", cwd=project)
    assert (done.returncode, "tiny.yaml:7:13: " in done.stderr) == (2, True)
