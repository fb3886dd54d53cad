"""What is on disk: columns, work units, shards, manifest, reader. Knows nothing of how labels were made."""

from qmgen.corpus.identity import check_same, config_hash
from qmgen.corpus.manifest import write_manifest
from qmgen.corpus.plan import FAILURES, SPLITS, Listing, Plan, Splitter, Unit, plan
from qmgen.corpus.reader import Corpus, load, open_corpus
from qmgen.corpus.schema import failure_schema, failure_table, row_schema, row_table
from qmgen.corpus.store import Place, Store, store_of
from qmgen.corpus.unit_records import FileRecord, write_table, write_unit

__all__ = [
    "FAILURES", "SPLITS", "Corpus", "FileRecord", "Listing", "Place", "Plan", "Splitter", "Store", "Unit", "check_same",
    "config_hash", "failure_schema", "failure_table", "load", "open_corpus", "plan", "row_schema", "row_table",
    "store_of", "write_manifest", "write_table", "write_unit",
]  # fmt: skip
