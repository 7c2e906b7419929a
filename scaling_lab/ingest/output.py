"""What ingest found, as tables in memory and on disk."""

from __future__ import annotations

import gzip
import io
import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import UsageError
from ..files import check_writable, write_bytes, write_meta
from .log import Issue

if TYPE_CHECKING:
    import pandas as pd

SCHEMA = "scaling-lab/ingest/1"
WRITTEN = (".csv", ".csv.gz", ".tsv", ".tsv.gz", ".parquet")


@dataclass(frozen=True)
class Ingested:
    """The runs and curves tables, and an account of everything that is not in them.

    `read` counts the rows of the logs, `dropped` those left out by reason, `inputs` maps each file to its sha256.
    """

    runs: pd.DataFrame
    curves: pd.DataFrame
    issues: tuple[Issue, ...]
    notes: tuple[str, ...]
    dropped: Mapping[str, int]
    read: int
    inputs: Mapping[str, str]
    endpoint: str

    def counts(self) -> dict[str, int]:
        """How many issues there are of each code."""
        return dict(Counter(issue.code for issue in self.issues))

    def to_dict(self) -> dict[str, Any]:
        """The JSON of `scaling-lab ingest --json`."""
        return {
            "schema": SCHEMA,
            "runs": len(self.runs),
            "points": len(self.curves),
            "status": {str(k): int(n) for k, n in Counter(self.runs["status"]).items()},
            "tokens_from": {str(k): int(n) for k, n in Counter(self.runs["tokens_from"]).items()},
            "endpoint": self.endpoint,
            "files": len(self.inputs),
            "rows": {"read": self.read, "dropped": dict(self.dropped)},
            "issue_counts": self.counts(),
            "issues": [vars(issue) for issue in self.issues],
            "notes": list(self.notes),
        }

    def write(self, out: str | os.PathLike[str], curves: str | os.PathLike[str] | None = None) -> None:
        """Writes the runs table, and the curves where asked, each whole or not at all with its .meta.json."""
        check_outputs(out, curves)
        about = {"endpoint": self.endpoint, "dropped": dict(self.dropped), "issues": self.counts()}
        for path, frame, schema in (
            (out, self.runs, "scaling-lab/runs/1"),
            (curves, self.curves, "scaling-lab/curves/1"),
        ):
            if path is not None:
                write_bytes(path, table_bytes(path, frame))
                write_meta(path, schema, dict(self.inputs), rows=len(frame), **about)


def check_outputs(out: str | os.PathLike[str], curves: str | os.PathLike[str] | None) -> None:
    """Raises UsageError or BadInput, before long work, where the tables can't be written under these names."""
    for option, path in (("--out", out), ("--curves", curves)):
        if path is not None and not str(path).lower().endswith(WRITTEN):
            raise UsageError(f"{option} {os.fspath(path)}: a table is written as one of {', '.join(WRITTEN)}")
        check_writable(path)
    if curves is not None and Path(out).resolve() == Path(curves).resolve():
        raise UsageError(f"--out and --curves are the same file, {os.fspath(out)}; give each its own")


def table_bytes(path: str | os.PathLike[str], frame: pd.DataFrame) -> bytes:
    """A table in the format of the path's ending; the same table gives the same bytes."""
    name = str(path).lower()
    if name.endswith(".parquet"):
        out = io.BytesIO()
        frame.to_parquet(out, index=False)
        return out.getvalue()
    delimiter = "\t" if ".tsv" in name else ","
    content = frame.to_csv(index=False, sep=delimiter, lineterminator="\n").encode()
    return gzip.compress(content, mtime=0) if name.endswith(".gz") else content
