"""What every test starts from: one thread, denormals flushed, one seed, as the commands themselves do."""

import pytest
import torch
from hypothesis import settings

from elbo_cli.runtime import settle

settings.register_profile("fixed", derandomize=True, deadline=None)  # the same examples in every run
settings.load_profile("fixed")


@pytest.fixture(autouse=True)
def _settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Threads, denormals and the global generator, whatever the test before has left; and no busy neighbour."""
    monkeypatch.setattr("os.getloadavg", lambda: (0.0, 0.0, 0.0), raising=False)
    settle(1)
    torch.manual_seed(0)
