"""`nas resume --salvage`: a damaged journal costs what was damaged, not the run."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path


def command(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "nas", *words], capture_output=True, text=True, timeout=120)


def test_a_damaged_journal_is_refused_with_its_offset_and_salvaged_with_its_results(tmp_path: Path) -> None:
    config = tmp_path / "quick.yaml"
    config.write_text(
        "space: digits_cnn\ntask: {dataset: digits}\nbudget: {trials: 3}\ncontroller: random\n"
        "train: {epochs: 1}\ncluster: {kind: inline}\n"
    )
    run = str(tmp_path / "run")
    assert command("search", str(config), "--run", run).returncode == 0
    before = json.loads(command("leaderboard", run, "--format", "json").stdout)
    (segment,) = Path(run, "journal").glob("*.jsonl")
    data = bytearray(segment.read_bytes())
    offset = data.index(b'"trial_ended"')
    data[offset + 3] ^= 1
    segment.write_bytes(data)

    for words in (["resume", run], ["leaderboard", run], ["status", run]):
        refused = command(*words)
        assert refused.returncode == 2, words
        assert "damaged at byte" in refused.stderr
        assert f"nas resume {run} --salvage" in refused.stderr
    salvaged = command("resume", run, "--salvage")
    assert salvaged.returncode == 0, salvaged.stderr
    after = json.loads(command("leaderboard", run, "--format", "json").stdout)
    assert [row["hash"] for row in after] == [row["hash"] for row in before]
    # Results were found again by their files, and not trained again: even the seconds are the same.
    assert [row["seconds"] for row in after] == [row["seconds"] for row in before]
