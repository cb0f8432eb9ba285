"""One further rank of a run: `python -m speechml.engine.rank PARENT FOLDER [CHECKPOINT]`, as FrozenDDP starts it."""

from __future__ import annotations

import sys
from pathlib import Path

from speechml.engine.process import end_with

if __name__ == "__main__":
    end_with(int(sys.argv[1]))  # before what takes seconds to load: rank 0 may be killed meanwhile
    from speechml.engine.ranks import train_rank

    sys.exit(train_rank(*map(Path, sys.argv[2:])))
