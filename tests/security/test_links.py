"""A run's folder in which somebody put links: none is followed out of it, to read or to write.

Without these, going on with a run that came from elsewhere, or that others can write in, could change any file of ours.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import nas
from nas import results, store
from nas.cluster.batch.run import Batch
from nas.durable import within, write_whole
from nas.errors import DiskFailed, InputError
from nas.records import Attempt, Succeeded
from nas.submit.command import cancel, jobs_of

SPACE = {"hyperparameters": {"x": {"float": [0.0, 1.0]}}}


def search(run: Path, trials: int) -> nas.Run:
    return nas.search(
        SPACE, lambda candidate, context: 1.0, trials=trials, controller="random", cluster={"kind": "inline"}, run=run
    )


@pytest.fixture
def elsewhere(tmp_path: Path) -> Path:
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    (folder / "precious").write_text("theirs")
    return folder


def untouched(elsewhere: Path) -> bool:
    return [(path.name, path.read_text()) for path in elsewhere.iterdir()] == [("precious", "theirs")]


@pytest.mark.parametrize("place", ["trials", "trials/3", "trials/3/0", "journal", "journal/000002.jsonl"])
def test_a_run_with_a_link_in_place_of_a_folder_is_refused_and_nothing_is_written_there(
    tmp_path: Path, elsewhere: Path, place: str
) -> None:
    run = tmp_path / "run"
    search(run, 3)
    link = run / place
    if link.is_dir():
        shutil.rmtree(link)
    link.parent.mkdir(exist_ok=True)
    link.symlink_to(elsewhere)
    with pytest.raises(InputError, match=f"{link} is a link"):
        search(run, 5)
    assert untouched(elsewhere)


@pytest.mark.parametrize("place", ["logs", "logs/dask.log", "logs/worker-0.log"])
def test_logs_are_written_through_no_link(tmp_path: Path, elsewhere: Path, place: str) -> None:
    link = tmp_path / "run" / place
    link.parent.mkdir(parents=True)
    link.symlink_to(elsewhere / "precious")
    with pytest.raises(InputError, match=f"{link} is a link"):
        nas.search(SPACE, lambda candidate, context: 1.0, trials=1, cluster={"workers": 1}, run=tmp_path / "run")
    assert untouched(elsewhere)


def test_reading_a_linked_journal_is_refused_by_every_command(tmp_path: Path, elsewhere: Path) -> None:
    search(tmp_path / "run", 2)
    (tmp_path / "run/journal").rename(elsewhere / "journal")
    (tmp_path / "run/journal").symlink_to(elsewhere / "journal")
    for command in ("status", "leaderboard", "resume"):
        said = subprocess.run(
            [sys.executable, "-m", "nas", command, str(tmp_path / "run")], capture_output=True, text=True, timeout=60
        )
        assert said.returncode == 2
        assert "is a link" in said.stderr and "Traceback" not in said.stderr


def test_links_among_an_attempts_files_are_as_if_absent_and_not_written_through(
    tmp_path: Path, elsewhere: Path
) -> None:
    one = Attempt("run", 3, 0, {}, "hash", 1, str(tmp_path / "trials/3"), until=1, saved=0)
    results.write_result(one, Succeeded({"value": 1.0}))
    own = tmp_path / "trials/3/0"
    (own / "result.json").rename(elsewhere / "result.json")
    (own / "result.json").symlink_to(elsewhere / "result.json")
    assert results.read_result(one) is None
    results.write_result(one, Succeeded({"value": 2.0}))  # takes the link's place
    assert results.read_result(one) == (0, Succeeded({"value": 2.0}))
    (elsewhere / "result.json").unlink()

    (own / "state").symlink_to(elsewhere)
    assert results.saved_state(one) is None
    results.forget_state(one.folder, 0)
    with pytest.raises(DiskFailed, match="is a link"):
        results.state_folder(one)
    (own / "state").unlink()
    results.state_folder(one)
    (own / "state/weights").symlink_to(elsewhere / "precious")
    assert results.saved_state(one) is None
    assert untouched(elsewhere)


def test_files_are_made_through_no_link_under_their_temporary_name_or_their_own(
    tmp_path: Path, elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.getpid", lambda: 17)
    (tmp_path / ".config.yaml.17.tmp").symlink_to(elsewhere / "precious")
    with pytest.raises(DiskFailed, match=r"config\.yaml"):
        write_whole(tmp_path / "config.yaml", b"ours")
    (tmp_path / "config.yaml").symlink_to(elsewhere / "precious")
    write_whole(tmp_path / "config.yaml", b"ours")
    assert (tmp_path / "config.yaml").read_bytes() == b"ours" and not (tmp_path / "config.yaml").is_symlink()
    heartbeat = tmp_path / "journal/000001.alive"
    heartbeat.parent.mkdir()
    heartbeat.symlink_to(elsewhere / "precious")
    journal, _ = store.Journal.claim(tmp_path / "journal", now=1.0)
    journal.close()
    assert untouched(elsewhere)


def test_a_run_that_is_itself_reached_by_a_link_is_a_run(tmp_path: Path, elsewhere: Path) -> None:
    """That is how people keep runs on another disk."""
    (tmp_path / "runs").symlink_to(elsewhere)
    search(tmp_path / "runs/mine", 2)
    assert (elsewhere / "mine/journal/000001.jsonl").exists()
    assert within(tmp_path / "runs", "mine") == tmp_path / "runs/mine"


@pytest.mark.parametrize("text", ["x\ntouch /tmp/owned", "", "0123456789ab\n", "../../etc", "\xff"])
def test_an_id_of_jobs_that_could_become_a_line_of_a_script_is_refused(tmp_path: Path, text: str) -> None:
    """It stands in a job's directives; in a run that came from elsewhere it may say anything."""
    (tmp_path / "cluster").mkdir()
    (tmp_path / "cluster/id").write_bytes(text.encode("latin-1"))
    with pytest.raises(InputError, match="no id of a run's jobs"):
        Batch.of(tmp_path)
    (tmp_path / "cluster/id").write_text("0123456789ab")
    assert Batch.of(tmp_path) == Batch(tmp_path, "0123456789ab")


def test_an_id_of_jobs_that_cannot_be_read_is_said_and_hides_nothing_else(tmp_path: Path) -> None:
    """Else the run would seem never to have been submitted, while its jobs run."""
    (tmp_path / "cluster/id").mkdir(parents=True)
    with pytest.raises(InputError, match="cluster/id cannot be read: Is a directory"):
        cancel(tmp_path)
    found = jobs_of(tmp_path)
    assert found is not None and "the queue is not known" in found.lines()[0]
