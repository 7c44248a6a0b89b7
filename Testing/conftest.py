"""What tests of all kinds share: where the real images are, and one thread each."""

import os
from pathlib import Path

import pytest

# As many tests run at once as there are cores: their threads, and those of the children that they start, would only
# wait for each other. Set before anything imports torch, and before the workers are started, which inherit it.
os.environ["OMP_NUM_THREADS"] = "1"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real images beside the repository; a test that needs it is skipped where it is absent."""
    folder = Path(__file__).resolve().parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"no real images at {folder}")
    return folder
