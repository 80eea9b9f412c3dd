"""``python -m ntcore.cli``: the command without its script."""

import sys

from ntcore.cli import main

sys.exit(main())
