from typing import Any
def is_strained(mol: Any) -> bool:
    return False
