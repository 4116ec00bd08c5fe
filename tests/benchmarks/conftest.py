"""What several tests of the benchmarks use."""

import os
import shutil
import subprocess

import pytest

BROWSERS = ("chromium", "chromium-browser", "google-chrome")


@pytest.fixture
def browse(tmp_path_factory):
    """Opens a page in headless Chromium: its DOM, and what it complained."""
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        pytest.skip("needs Chromium: apt-get install chromium")
    profile = tmp_path_factory.mktemp("profile")

    def open_page(page):
        done = subprocess.run(
            [
                browser,
                "--headless=new",
                "--no-sandbox",
                "--disable-gpu",
                f"--user-data-dir={profile}",
                "--enable-logging=stderr",
                "--virtual-time-budget=10000",
                "--dump-dom",
                page.as_uri(),
            ],
            capture_output=True,
            text=True,
            timeout=120,
            env={**os.environ, "HOME": str(profile)},
        )
        assert done.returncode == 0, done.stderr
        lines = done.stderr.splitlines()
        return done.stdout, [line for line in lines if "CONSOLE" in line]

    return open_page
