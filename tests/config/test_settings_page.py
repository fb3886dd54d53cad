"""docs/settings.md is what the declarations of the settings say."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_the_page_of_settings_is_what_the_script_prints(bare_environment: dict[str, str]) -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "scripts" / "settings_page"],
        env={**bare_environment, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    page = ROOT / "docs" / "settings.md"
    assert done.stdout == page.read_text(encoding="utf-8"), f"print it anew: scripts/settings_page > {page}"
