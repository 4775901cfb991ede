"""The machine that tests of the driver's calls run on."""

import gc

import pytest
import standin

from convnet.backends.cuda import contexts, driver
from convnet.backends.cuda import machine as machine_module


@pytest.fixture
def machine(monkeypatch):
    """Puts a stand-in where PyCUDA would be; at the end everything must have been given back."""

    def put(**options):
        drv = standin.StandIn(**options)
        monkeypatch.setattr(driver, "load_driver", lambda: drv)
        monkeypatch.setattr(machine_module, "load_driver", lambda: drv)
        monkeypatch.setattr(machine_module, "find_compiler", standin.Compiler)
        monkeypatch.setattr(machine_module, "load_blas", lambda: standin.Compiler)
        monkeypatch.setattr(contexts.atexit, "register", lambda work, *args: drv.at_exit.append((work, args)))
        monkeypatch.setattr(standin.Blas, "drv", drv)
        monkeypatch.setattr(driver, "Blas", standin.Blas)
        monkeypatch.setattr(driver, "Graphs", lambda api: standin.Graphs(drv))
        monkeypatch.setattr(driver, "build", lambda source, capability: b"")
        made.append(drv)
        return drv

    made = []
    yield put
    for drv in made:
        drv.refused.clear()
    gc.collect()  # devices end here
    left = [held for held in standin.HELD.values() if held[0] in made]
    assert not left and not any(drv.stack or drv.memory or drv.locked for drv in made)
