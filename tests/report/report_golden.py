"""Text pinned in files beside the tests; `NAS_WRITE_GOLDEN=1 pytest tests/report` writes them anew."""

import os
from pathlib import Path

FOLDER = Path(__file__).parent / "golden"


def assert_golden(text: str, name: str) -> None:
    path = FOLDER / name
    if os.environ.get("NAS_WRITE_GOLDEN"):
        path.write_text(text)
    assert text == path.read_text(), f"{path} differs; if the change is meant, write it anew with NAS_WRITE_GOLDEN=1"
