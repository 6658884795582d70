"""This engine against the scripts people run and TRL: `python benchmarks/engine.py --help`."""

import sys
from pathlib import Path

if __name__ == "__main__":
    # Of a script its own directory comes first, and there `engine` would be this file.
    sys.path[0] = str(Path(__file__).resolve().parents[1])
    from benchmarks.comparison import main

    sys.exit(main())
