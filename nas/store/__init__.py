"""What is on disk for a run: its journal and its folder."""

from __future__ import annotations

from nas.store.folder import history, opening, write_texts
from nas.store.journal import Journal, alive, exists, read, require_last
from nas.store.segments import Entry

__all__ = ["Entry", "Journal", "alive", "exists", "history", "opening", "read", "require_last", "write_texts"]
