"""What the tests of the energy loss share lies in ``few_molecules``."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
