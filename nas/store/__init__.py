"""What is on disk for a run: its journal and its folder."""

from __future__ import annotations

from nas.store.folder import history, write_texts
from nas.store.journal import Entry, Journal, alive, exists, read

__all__ = ["Entry", "Journal", "alive", "exists", "history", "read", "write_texts"]
