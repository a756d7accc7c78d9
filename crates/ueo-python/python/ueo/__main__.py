"""`python -m ueo` is `ueo`."""

import sys

from ._command import main

sys.exit(main())
