"""Identifiers of several files of molecules, which go on from one to the next."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from qmgen.errors import UsageError
from qmgen.pipeline.source import open_source
from qmgen.pipeline.stages import Stages

LARGEST = 2**63 - 1


def test_identifiers_stay_within_their_column(tmp_path):
    for name, last in (("small", 5), ("large", LARGEST), ("fits", LARGEST - 6)):
        table = pa.table({"z": [[1, 1]], "pos": [[0.0, 0, 0, 0, 0, 1.4]], "molecule_id": [last]})
        pq.write_table(table, tmp_path / f"{name}.parquet")
    small, large, fits = (str(tmp_path / f"{name}.parquet") for name in ("small", "large", "fits"))
    with open_source([small, fits], None, Stages()) as source:
        assert [entry.molecule_id for entry in source] == [5, LARGEST]
    for files in ([small, large], [large, small]):
        with pytest.raises(UsageError, match="runs of their own"), open_source(files, None, Stages()):
            pass
