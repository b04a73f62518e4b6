"""What a cluster starts; the package itself comes along as --py-files or is installed."""

import sys

from forebay_batch.__main__ import main

code = main()
if code:
    sys.exit(code)
