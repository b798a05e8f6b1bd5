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


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the file that takes longest and mostly waits, so that others run beside it."""
    items.sort(key=lambda item: item.path.name != "test_cluster.py")


@pytest.fixture(scope="session")
def downloaded() -> Path:
    """The folder of music that is not part of the project: $COURSE_TEST_DATA."""
    folder = os.environ.get("COURSE_TEST_DATA")
    if not folder:
        pytest.skip("COURSE_TEST_DATA names no folder of downloaded music")
    return Path(folder)


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
