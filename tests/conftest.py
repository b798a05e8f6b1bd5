"""What several test files share."""

import os
from pathlib import Path

import pytest


@pytest.fixture
def shared_data():
    """The folder of real music to test on: $COURSE_SHARED_DATA, else shared/data beside the checkout."""
    beside = Path(__file__).parents[2] / "shared" / "data"
    folder = Path(os.environ.get("COURSE_SHARED_DATA") or beside)
    if not folder.is_dir():
        pytest.skip("no folder of real music is here: set COURSE_SHARED_DATA to one")
    return folder
