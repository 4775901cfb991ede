"""Makes the scripts of ``benchmarks/`` and ``benchmarks/card/`` importable."""

import sys

from support import ROOT

for folder in (ROOT / "benchmarks", ROOT / "benchmarks" / "card"):
    sys.path.insert(0, str(folder))
