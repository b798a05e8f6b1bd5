"""`python -m course_lib`: see `cli.py`."""

import sys
import warnings

try:
    from course_lib.cli import main
except ModuleNotFoundError as error:
    sys.exit(f"!!  {error.name} is not installed: run `pip install -r requirements.txt`.")

warnings.formatwarning = lambda message, *_, **__: f"Warning: {message}\n"  # without a line of our source
sys.exit(main())
