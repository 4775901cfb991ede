"""``python tools/makebatches.py``: the same as ``convnet makebatches``; see ``convnet.cli.makebatches``."""

import sys
from pathlib import Path

if __name__ == "__main__":
    # In a checkout the package stands beside this folder; installed, Python finds it anyway.
    sys.path.insert(1, str(Path(__file__).resolve().parents[1]))
    from convnet.cli import main

    sys.exit(main(prog="python tools/makebatches.py", verb="makebatches"))
