"""``python -m qmgen`` is the ``qmgen`` command."""

import sys

from qmgen.cli.main import main

sys.exit(main())
