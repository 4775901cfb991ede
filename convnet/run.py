"""``python -m convnet.run``: the same as ``convnet run``; see ``convnet.cli.run``."""

import sys

from convnet.cli import main

if __name__ == "__main__":
    sys.exit(main(prog="python -m convnet.run", verb="run"))
