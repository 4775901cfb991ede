"""What tests of runs run on."""

import pytest
from support import write_cifar, write_net


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with a small net, and four batches of 40 cases."""
    folder = tmp_path_factory.mktemp("place")
    write_cifar(folder / "data", batches=4, cases=40)
    write_net(folder)
    return folder
