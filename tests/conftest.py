"""Makes ``support`` importable, keeps numbers reproducible, and drawings off the screen."""

import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
os.environ.setdefault("MPLBACKEND", "Agg")
