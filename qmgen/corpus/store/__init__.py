"""Where a corpus lies: a directory of this machine, or a prefix of an object store; one interface for both."""

from qmgen.corpus.store.local import LocalStore
from qmgen.corpus.store.store import Place, Store, joined, place_of, read_small, store_of

__all__ = ["LocalStore", "Place", "Store", "joined", "place_of", "read_small", "store_of"]
