"""`python -m course_lib`: see `cli.py`."""

import signal
import sys
import warnings

try:
    from course_lib.cli import main
except ModuleNotFoundError as error:
    sys.exit(f"!!  {error.name} is not installed: run `pip install -r requirements.txt`.")

warnings.formatwarning = lambda message, *_, **__: f"Warning: {message}\n"  # without a line of our source
signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C: else what a command started would outlive it
sys.exit(main())
