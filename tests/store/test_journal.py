"""The journal: what was acknowledged is there after any kill, and only one driver's words count."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from nas.durable import seal
from nas.errors import DiskFailed, InputError, RunHeld
from nas.records import AttemptStarted, DriverTookOver, Proposal, Proposed, RunEnded, TrialReported
from nas.store import Journal, alive, liveness, read, require_last


def proposed(number: int) -> Proposed:
    return Proposed(Proposal(number, {"hyperparameters.x": 0.1 * number}, {"hyperparameters": {}}, f"hash-{number}"))


def written(folder: Path, count: int) -> list[object]:
    """A journal of one driver with ``count`` events behind its first line."""
    writer, entries = Journal.claim(folder, now=1.0)
    events = [proposed(number) for number in range(count)]
    writer.append((event, 2.0) for event in events)
    writer.close()
    return [entries[0].event, *events]


def test_what_is_appended_is_read_back_by_a_reader_without_a_lock(tmp_path: Path) -> None:
    events = written(tmp_path, 5)
    entries = read(tmp_path)
    assert [entry.event for entry in entries] == events
    assert [entry.sequence for entry in entries] == list(range(6))
    assert {entry.epoch for entry in entries} == {1}


def test_a_journal_cut_at_every_byte_of_its_last_three_lines_opens_and_goes_on(tmp_path: Path) -> None:
    events = written(tmp_path / "whole", 6)
    data = (tmp_path / "whole/000001.jsonl").read_bytes()
    lines = data.splitlines(keepends=True)
    for cut in range(len(data) - len(b"".join(lines[-3:])), len(data)):
        folder = tmp_path / str(cut)
        folder.mkdir()
        (folder / "000001.jsonl").write_bytes(data[:cut])
        (folder / "000001.alive").write_bytes(b"released")
        whole_lines = sum(len(b"".join(lines[: n + 1])) <= cut for n in range(len(lines)))
        assert [entry.event for entry in read(folder)] == events[:whole_lines]
        writer, entries = Journal.claim(folder, now=3.0)
        writer.append([(proposed(99), 4.0)])
        writer.close()
        assert [entry.event for entry in read(folder)] == [*events[:whole_lines], entries[-1].event, proposed(99)]
        assert [entry.sequence for entry in read(folder)] == list(range(whole_lines + 2))


def test_damage_before_sound_lines_is_refused_with_its_offset_and_salvage_keeps_what_is_sound(tmp_path: Path) -> None:
    events = written(tmp_path, 6)
    path = tmp_path / "000001.jsonl"
    data = bytearray(path.read_bytes())
    offset = len(b"".join(bytes(data).splitlines(keepends=True)[:3]))
    data[offset + 30] ^= 1
    path.write_bytes(data)
    with pytest.raises(InputError, match=rf"damaged at byte {offset} .*--salvage"):
        read(tmp_path)
    with pytest.raises(InputError, match="damaged"):
        Journal.claim(tmp_path, now=3.0)
    writer, entries = Journal.claim(tmp_path, now=3.0, salvage=True)
    writer.append([(proposed(99), 4.0)])
    writer.close()
    assert [entry.event for entry in entries[:-1]] == events[:3]
    assert [entry.event for entry in read(tmp_path)] == [*events[:3], entries[-1].event, proposed(99)]


@pytest.mark.parametrize(
    ("folder", "remedy"),
    [
        ("run", "nothing to go on with: give another --run DIR"),
        ("run/audit/4", r"Remove \S+run/audit/4, and `nas audit`"),
    ],
)
def test_the_remedy_for_damage_is_one_that_helps(tmp_path: Path, folder: str, remedy: str) -> None:
    """Salvage of nothing ends in "start it", and to start it was refused: damaged. An audit is not salvaged."""
    journal = tmp_path / folder / "journal"
    journal.mkdir(parents=True)
    (journal / "000001.jsonl").write_text("no journal\n")
    with pytest.raises(InputError, match=remedy):
        read(journal)


def test_a_journal_that_cannot_be_opened_has_no_driver_and_is_refused_by_whoever_reads_it(tmp_path: Path) -> None:
    (tmp_path / "000001.jsonl").mkdir()
    assert not alive(tmp_path)
    with pytest.raises(InputError, match="Is a directory"):
        read(tmp_path)


def test_damage_in_an_earlier_segment_is_refused_too(tmp_path: Path) -> None:
    written(tmp_path, 3)
    written(tmp_path, 2)
    path = tmp_path / "000001.jsonl"
    data = bytearray(path.read_bytes())
    data[-5] ^= 1  # in its last line: without the second segment this would be a torn tail
    path.write_bytes(data)
    with pytest.raises(InputError, match=r"000001\.jsonl: damaged at byte"):
        read(tmp_path)


def test_a_second_driver_is_refused_at_once_with_host_and_process(tmp_path: Path) -> None:
    writer, _ = Journal.claim(tmp_path, now=1.0)
    code = f"from nas.store import Journal; from pathlib import Path; Journal.claim(Path({str(tmp_path)!r}), 1.0)"
    second = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=20)
    assert f"RunHeld: {tmp_path.parent} is held by process {os.getpid()} on {os.uname().nodename}" in second.stderr
    writer.close()
    assert subprocess.run([sys.executable, "-c", code], timeout=20).returncode == 0


def test_a_driver_that_died_without_a_word_is_followed_at_once(tmp_path: Path) -> None:
    code = f"""
import os, signal
from pathlib import Path
from nas.store import Journal
from nas.records import AttemptStarted
writer, _ = Journal.claim(Path({str(tmp_path)!r}), 1.0)
writer.append([(AttemptStarted(0, 0), 2.0)])
os.kill(os.getpid(), signal.SIGKILL)
"""
    assert subprocess.run([sys.executable, "-c", code], timeout=20).returncode == -9
    _, entries = Journal.claim(tmp_path, now=3.0)
    assert [type(entry.event) for entry in entries] == [DriverTookOver, AttemptStarted, DriverTookOver]
    assert entries[-1].epoch == 2


def test_a_driver_on_another_host_holds_while_its_heartbeat_moves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Process ids of another host say nothing here; without the heartbeat two hosts would write at once."""
    monkeypatch.setattr(liveness, "HEARTBEAT", 0.05)
    monkeypatch.setattr(liveness, "STANDSTILL", 0.5)
    writer, entries = Journal.claim(tmp_path, now=1.0)
    first = DriverTookOver("elsewhere", 1, 1.0, "another-boot")
    line = {"sequence": 0, "epoch": 1, "time": 1.0, "body": first}
    (tmp_path / "000001.jsonl").write_bytes(seal(line))
    with pytest.raises(RunHeld, match="process 1 on elsewhere, which is alive"):
        Journal.claim(tmp_path, now=2.0)
    writer.close()
    (tmp_path / "000001.alive").write_bytes(b"17")  # the last sign of life of a host that lost its power
    follower, _ = Journal.claim(tmp_path, now=2.0)
    assert follower.epoch == 2
    assert len(entries) == 1


def test_what_a_superseded_driver_writes_is_ignored_and_it_is_told(tmp_path: Path) -> None:
    """A stopped process that wakes up after its place was taken must not add to the truth."""
    old, _ = Journal.claim(tmp_path, now=1.0)
    old.append([(proposed(0), 1.0), (RunEnded("interrupted"), 1.0)])
    new, _ = Journal.claim(tmp_path, now=2.0)
    with (tmp_path / "000001.jsonl").open("ab") as segment:
        line = {"sequence": 3, "epoch": 1, "time": 3.0, "body": proposed(1)}
        segment.write(seal(line))
    with pytest.raises(RunHeld, match="taken this run over"):
        old.append([(proposed(2), 3.0)])
    with pytest.raises(RunHeld, match="taken this run over"):
        old.append([])  # a driver whose trials take hours does not train them for nobody
    new.append([(TrialReported(0, 0, 1, {"accuracy": 0.5}), 4.0)])
    kinds = [type(entry.event).__name__ for entry in read(tmp_path)]
    assert kinds == ["DriverTookOver", "Proposed", "RunEnded", "DriverTookOver", "TrialReported"]
    old.close()
    new.close()


def test_who_has_let_go_of_a_run_is_told_whether_another_driver_came_since(tmp_path: Path) -> None:
    """Else the end of a job's time has it begun again beside the one that goes on."""
    journal = tmp_path / "run/journal"
    written(journal, 1)
    require_last(journal)
    code = "import sys, pathlib, nas.store; nas.store.Journal.claim(pathlib.Path(sys.argv[1]), 2.0)[0].close()"
    subprocess.run([sys.executable, "-c", code, str(journal)], check=True, timeout=60)
    with pytest.raises(RunHeld, match="taken this run over"):
        require_last(journal)
    (tmp_path / "run").rename(tmp_path / "moved")
    with pytest.raises(DiskFailed, match="No such file"):
        require_last(journal)


def test_a_driver_whose_journal_was_removed_is_told_and_acknowledges_nothing_more(tmp_path: Path) -> None:
    """Else a search goes on for hours into a file that has no name any more, and ends as if all were well."""
    writer, _ = Journal.claim(tmp_path / "run/journal", now=1.0)
    (tmp_path / "run").rename(tmp_path / "moved")
    with pytest.raises(DiskFailed, match="removed or moved"):
        writer.append([(proposed(0), 2.0)])
    writer.close()
    assert len(read(tmp_path / "moved/journal")) == 1


def test_two_drivers_racing_for_the_same_epoch_get_one_winner(tmp_path: Path) -> None:
    code = """
import sys, time
from pathlib import Path
from nas.store import Journal
from nas.errors import RunHeld
while not Path(sys.argv[1], "go").exists(): time.sleep(0.001)
try:
    writer, _ = Journal.claim(Path(sys.argv[1], "journal"), 1.0); print("won", flush=True); sys.stdin.read()
except RunHeld:
    print("held")
"""
    racers = [
        subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        for _ in range(4)
    ]
    (tmp_path / "go").touch()
    said = sorted(racer.stdout.readline().decode().strip() for racer in racers if racer.stdout)
    for racer in racers:
        racer.communicate(timeout=20)
    assert said == ["held", "held", "held", "won"]


def test_an_event_of_a_newer_version_is_named_and_not_dropped(tmp_path: Path) -> None:
    written(tmp_path, 1)
    with (tmp_path / "000001.jsonl").open("ab") as segment:
        segment.write(seal({"sequence": 2, "epoch": 1, "time": 3.0, "body": {"event": "teleported"}}))
    with pytest.raises(InputError, match=r"at byte \d+: unknown journal event 'teleported'"):
        read(tmp_path)
