"""What several test files share."""

import os
import shutil
import signal
import subprocess
from pathlib import Path

import pytest
from hypothesis import settings

# A busy machine is no failure, and each run of the tests tries the same examples.
settings.register_profile("kit", deadline=None, derandomize=True)
settings.load_profile("kit")

# A shell's background job ignores Ctrl-C, and so would every process that a test starts to interrupt it.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of downloaded test music: $COURSE_SHARED_DATA, or shared/data beside the checkout."""
    folder = Path(os.environ.get("COURSE_SHARED_DATA", Path(__file__).parents[2] / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no downloaded music in {folder} (set COURSE_SHARED_DATA to its folder)")
    return folder


@pytest.fixture(scope="session")
def chromium(tmp_path_factory) -> str:
    """Path of a Chromium or Chrome that opens files of the temporary folder, as one from a snap does not."""
    page = tmp_path_factory.mktemp("browser") / "page.html"
    page.write_text("<p>opened</p>")
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--dump-dom", f"--user-data-dir={page.parent / 'profile'}"]
    for name in ("chromium", "chromium-browser", "google-chrome", "chrome"):
        if browser := shutil.which(name):
            done = subprocess.run([browser, *flags, page.as_uri()], capture_output=True, text=True, timeout=180)
            if "opened" in done.stdout:
                return browser
    pytest.skip("no Chromium or Chrome that opens files of the temporary folder is on the PATH")
