"""Makes ``support`` importable, keeps numbers reproducible, and drawings off the screen."""

import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
os.environ.setdefault("MPLBACKEND", "Agg")


def pytest_collection_modifyitems(items):
    """The check that every kernel was launched comes after all that launch them."""
    items.sort(key=lambda item: item.name == "test_no_kernel_is_left_out")
