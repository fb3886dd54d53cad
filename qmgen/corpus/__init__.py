"""What is on disk: columns, work units, shards, manifest, reader. Knows nothing of how labels were made."""

from qmgen.corpus.identity import check_same, config_hash
from qmgen.corpus.listing import Listing
from qmgen.corpus.manifest import write_manifest
from qmgen.corpus.plan import FAILURES, Plan, Unit, plan
from qmgen.corpus.reader import Corpus, load, open_corpus
from qmgen.corpus.rows import failure_table, row_table
from qmgen.corpus.schema import failure_schema, row_schema
from qmgen.corpus.shard import FileRecord, write_table, write_unit
from qmgen.corpus.splits import SPLITS, Splitter
from qmgen.corpus.store import Place, Store, store_of

__all__ = [
    "FAILURES", "SPLITS", "Corpus", "FileRecord", "Listing", "Place", "Plan", "Splitter", "Store", "Unit", "check_same",
    "config_hash", "failure_schema", "failure_table", "load", "open_corpus", "plan", "row_schema", "row_table",
    "store_of", "write_manifest", "write_table", "write_unit",
]  # fmt: skip
