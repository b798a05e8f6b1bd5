"""The thin helper package of the course: what two notebooks share, and what tests must reach."""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # else its start-up notes fill the first cell

PROFILES = ("quick", "paper")
