"""Tell the local paths in a spec from names on the hub."""

from __future__ import annotations

ROW_SUFFIXES = (".json", ".jsonl", ".csv", ".tsv", ".parquet", ".arrow")
TEXT_SUFFIXES = (".txt", ".md", ".text")
COMPRESSED = (".gz", ".bz2", ".xz", ".zst", ".zip")
SUFFIXES = (*ROW_SUFFIXES, *TEXT_SUFFIXES, *COMPRESSED, ".jinja", ".jinja2")


def looks_local(path: str) -> bool:
    """Return True if the path of a model or of data means a local one rather than a name on the hub."""
    return path.startswith((".", "/", "~")) or path.lower().endswith(SUFFIXES) or path.count("/") > 1


def split_revision(path: str) -> tuple[str, str | None]:
    """Return the name and the revision in a name on the hub such as `openai/gsm8k@v1`; a local path as it is."""
    name, at, revision = path.partition("@")
    return (path, None) if looks_local(path) or not at or not revision else (name, revision)
