"""The thin helper package of the course: what two notebooks share, and what tests must reach."""

import logging
import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # else its start-up notes fill the first cell

# TensorFlow warns of each further model that one notebook trains, as if it were a mistake.
logging.getLogger("tensorflow").addFilter(lambda record: "retracing" not in record.getMessage())


class UsageError(ValueError):
    """The command line asks for something that is not there."""
