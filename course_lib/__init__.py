"""The thin helper package of the course: what two notebooks share, and what tests must reach."""

import logging
import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # else its start-up notes fill the first cell

logging.getLogger("tensorflow").setLevel(logging.ERROR)  # it warns of every model a notebook builds anew

PROFILES = ("quick", "paper")


class UsageError(ValueError):
    """The command line asks for something that is not there."""
