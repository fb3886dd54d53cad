"""The footer of a Parquet file, and files with damaged bytes."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from qmgen.errors import UsageError
from qmgen.molecules.readers import read_molecules
from qmgen.molecules.readers.parquet_footer import BrokenFooter, row_groups
from tests.molecules.geometries import BOHR, Z


def test_counts_of_the_footer_are_those_of_pyarrow(tmp_path):
    path = tmp_path / "a.parquet"
    pq.write_table(
        pa.table({"z": [Z] * 10, "pos": [BOHR.tolist()] * 10, "name": list("abcdefghij")}), path, row_group_size=4
    )
    found, metadata = row_groups(path), pq.read_metadata(path)
    assert [group.rows for group in found] == [4, 4, 2]
    for at, group in enumerate(found):
        for place, column in enumerate(group.columns):
            theirs = metadata.row_group(at).column(place)
            assert ".".join(column.path) == theirs.path_in_schema and column.values == theirs.num_values
            assert column.bytes_whole == theirs.total_uncompressed_size
            assert column.bytes_stored == theirs.total_compressed_size


@pytest.mark.parametrize(
    "footer",
    [
        b"",
        b"\x19" + b"\xff" * 9 + b"\x7f",
        b"\x1c" * 5000,
        b"\x49\xfc" + b"\xff" * 4 + b"\x0f",
        b"\x1b\xff\xff\x03",
        b"\x15" + b"\xff" * 20,
        b"\x1e",
    ],
)
def test_footers_that_are_none(tmp_path, footer):
    path = tmp_path / "a.parquet"
    path.write_bytes(b"PAR1" + footer + len(footer).to_bytes(4, "little") + b"PAR1")
    with pytest.raises(BrokenFooter):
        row_groups(path)
    with pytest.raises(UsageError):
        read_molecules(path)


#: an exception of C++ that pyarrow does not catch would end the process: the damaged files are read in another one
_READ_DAMAGED = """
import random, sys
from pathlib import Path
from qmgen.errors import UsageError
from qmgen.molecules.readers import read_molecules
path = Path(sys.argv[1])
whole = path.read_bytes()
lines = rows = 0
for seed in range(250):
    chance = random.Random(seed)
    data = bytearray(whole)
    if chance.random() < 0.25:
        del data[chance.randrange(len(data)):]
    else:
        for _ in range(chance.choice([1, 1, 2, 8])):
            data[chance.randrange(len(data))] = chance.randrange(256)
    path.write_bytes(data)
    try:
        entries = list(read_molecules(path))
        rows += bool(entries)
    except UsageError as error:
        assert len(str(error).splitlines()) == 1, str(error)
        lines += 1
print(lines, rows)
"""


_WRITERS: dict[str, dict[str, Any]] = {
    "plain": {"compression": "none", "use_dictionary": False},
    "zstd": {"compression": "zstd", "row_group_size": 7, "data_page_version": "2.0"},
    "checksums": {"compression": "snappy", "write_page_checksum": True},
}


@pytest.mark.parametrize("writer", _WRITERS)
def test_damaged_bytes_end_in_rows_or_in_one_line(tmp_path, writer):
    path = tmp_path / "a.parquet"
    table = pa.table(
        {"smile": ["C"] * 20, "z": [Z] * 20, "pos": [BOHR.ravel().tolist()] * 20, "molecule_id": range(20)}
    )
    pq.write_table(table, path, **_WRITERS[writer])
    done = subprocess.run([sys.executable, "-c", _READ_DAMAGED, str(path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    lines, rows = map(int, done.stdout.split())
    assert lines + rows == 250 and lines > 60


def test_a_flipped_byte_of_a_page_with_a_checksum_is_seen(tmp_path):
    path = tmp_path / "a.parquet"
    table = pa.table({"z": [Z], "pos": pa.array([BOHR.ravel().tolist()], pa.list_(pa.float64()))})
    pq.write_table(table, path, compression="none", use_dictionary=False, write_page_checksum=True)
    data = bytearray(path.read_bytes())
    data[data.find(BOHR.ravel().tobytes()) + 30] ^= 16
    path.write_bytes(data)
    with pytest.raises(UsageError, match="damaged from row 0 on"):
        list(read_molecules(path))
