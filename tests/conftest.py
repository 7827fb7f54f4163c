"""What all tests share: one thread each, and where data is looked for before any network is asked."""

import os
from pathlib import Path

import pytest
import torch
from hypothesis import settings

from tests.offline import sitecustomize

# The same examples in every run, so that a change cannot fail for what it did not touch, and no limit of time, so that
# a busy machine fails nothing. To look for new examples: pytest --hypothesis-profile=default
settings.register_profile("repeatable", derandomize=True, deadline=None)
settings.load_profile("repeatable")

# Tests run side by side, and bitwise equality is promised on one thread.
torch.set_num_threads(1)

# The network is blocked in every process that tests start, too.
_BEFORE = [each for each in os.environ.get("PYTHONPATH", "").split(os.pathsep) if each]
os.environ["PYTHONPATH"] = os.pathsep.join([str(Path(sitecustomize.__file__).parent), *_BEFORE])

MIRROR = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def data_mirror():
    """Lets `SSAN_DATA_MIRROR` name `shared/data` beside the repository where it names nothing yet and that exists."""
    with pytest.MonkeyPatch.context() as patch:
        if "SSAN_DATA_MIRROR" not in os.environ and MIRROR.is_dir():
            patch.setenv("SSAN_DATA_MIRROR", str(MIRROR))
        yield os.environ.get("SSAN_DATA_MIRROR")
