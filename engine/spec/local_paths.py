"""Tell the local paths in a spec from names on the hub."""

from __future__ import annotations

ROW_SUFFIXES = (".json", ".jsonl", ".csv", ".tsv", ".parquet", ".arrow")
TEXT_SUFFIXES = (".txt", ".md", ".text")
COMPRESSED = (".gz", ".bz2", ".xz", ".zst", ".zip")
SUFFIXES = (*ROW_SUFFIXES, *TEXT_SUFFIXES, *COMPRESSED, ".jinja", ".jinja2")


def looks_local(path: str) -> bool:
    """Return True if the path of a model or of data means a local one rather than a name on the hub."""
    return path.startswith((".", "/", "~")) or path.lower().endswith(SUFFIXES) or path.count("/") > 1
