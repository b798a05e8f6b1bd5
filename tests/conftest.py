"""What several test files share."""

import os
import signal
from pathlib import Path

import pytest

# A shell's background job ignores Ctrl-C, and so would every process that a test starts to interrupt it.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of downloaded test music: $COURSE_SHARED_DATA, or shared/data beside the checkout."""
    folder = Path(os.environ.get("COURSE_SHARED_DATA", Path(__file__).parents[2] / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no downloaded music in {folder} (set COURSE_SHARED_DATA to its folder)")
    return folder
