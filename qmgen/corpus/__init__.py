"""What is on disk: columns, work units, shards, manifest, reader. Knows nothing of how labels were made."""

from qmgen.corpus.identity import check_same, config_hash
from qmgen.corpus.manifest import write_manifest, write_run, write_text
from qmgen.corpus.plan import FAILURES, Plan, Unit, plan
from qmgen.corpus.reader import Corpus, load, open_corpus
from qmgen.corpus.rows import failure_table, row_table
from qmgen.corpus.schema import failure_schema, row_schema
from qmgen.corpus.shard import FileRecord, clear_temporaries, write_table, write_unit
from qmgen.corpus.splits import SPLITS, Splitter

__all__ = [
    "FAILURES", "SPLITS", "Corpus", "FileRecord", "Plan", "Splitter", "Unit", "check_same", "clear_temporaries",
    "config_hash", "failure_schema", "failure_table", "load", "open_corpus", "plan", "row_schema", "row_table",
    "write_manifest", "write_run", "write_table", "write_text", "write_unit",
]  # fmt: skip
