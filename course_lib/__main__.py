"""``python -m course_lib``: see ``course_lib.run``."""

import sys

try:
    from course_lib.run import main
except ModuleNotFoundError as error:
    sys.exit(f"!!  {error.name} is not installed: run `pip install -r requirements.txt`.")

sys.exit(main())
