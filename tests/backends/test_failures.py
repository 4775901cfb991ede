"""What goes wrong with a card, its driver or a library is one line that says so, and ``auto`` goes on with the processor."""

import gc
import sys
from types import SimpleNamespace

import pytest
from emulator import pycuda_driver

from convnet.backends import choose_backends, make_backend, why_not_cuda
from convnet.backends.cuda import driver, graphs
from convnet.backends.cuda import machine as machine_module
from convnet.cli import doctor
from convnet.errors import BackendError, first_line

FULL = pycuda_driver.MemoryError("cuDevicePrimaryCtxRetain failed: out of memory")


class CuBlasError(Exception):
    """Neither PyCUDA's nor a ``RuntimeError``."""


def again(error: Exception) -> list[Exception]:
    """Some like it: one that was raised holds on to what it came through."""
    return [type(error)(*error.args) for _ in range(9)]


def one_line(call, *args) -> str:
    with pytest.raises(BackendError) as raised:
        call(*args)
    assert "\n" not in str(raised.value)
    return str(raised.value)


@pytest.mark.parametrize("what", ["cuDevicePrimaryCtxRetain", "cuStreamCreate", "cuMemAlloc_v2", "cublasCreate_v2"])
@pytest.mark.parametrize("error", [FULL, RuntimeError("two\nlines"), CuBlasError("")], ids=["full", "runtime", "odd"])
def test_a_card_that_cannot_be_opened(machine, what, error):
    drv = machine()
    drv.refused[what] = again(error)
    said = one_line(make_backend, "cuda")
    assert said.startswith("GPU 0") and (first_line(error) in said or "has no room for 32 MiB" in said)
    backends, reason = choose_backends("auto", 1, [0])
    assert backends[0].name == "cpu" and reason.startswith("GPU 0") and "--backend cpu" not in reason  # no order: it is done


@pytest.mark.parametrize("what", ["cuModuleLoadDataEx", "cuMemHostAlloc", "cublasSgemm_v2"])
def test_a_card_that_fails_later(machine, what):
    drv = machine()
    be = make_backend("cuda")
    out = be.empty((3, 3))
    drv.refused[what] = again(drv.Error("illegal address"))
    call = {
        "cuModuleLoadDataEx": lambda: be.fill(out, 1.0),
        "cuMemHostAlloc": lambda: be.fetch(out),
        "cublasSgemm_v2": lambda: be.fc_forward(out, out, out),
    }
    said = one_line(call[what])
    assert "card 0" in said and "illegal address" in said and drv.current() is None


def test_machine_code_that_the_driver_does_not_know(machine):
    """``auto`` tries a kernel before it promises a card."""
    drv = machine()
    drv.refused["cuModuleLoadDataEx"] = again(TypeError("cannot convert"))
    backends, reason = choose_backends("auto", 1, [0])
    assert backends[0].name == "cpu" and "does not take the machine code of eltwise.cu: cannot convert" in reason


def test_a_driver_older_than_the_libraries(machine):
    machine(cuda=12040)
    said = one_line(make_backend, "cuda")
    assert "knows CUDA 12.4, but NVRTC 13.5 is of CUDA 13: update the driver (580 or later)" in said
    assert why_not_cuda() == said and make_backend("auto").name == "cpu"


def test_a_card_older_than_the_compiler(machine):
    machine(capability=(7, 0))
    assert "knows devices from sm_75 on, not sm_70" in why_not_cuda()
    assert one_line(make_backend, "cuda") == why_not_cuda()


def test_auto_takes_a_card_that_runs(machine):
    machine()
    backends, reason = choose_backends("auto", 1, [0, 1, 0])
    assert [be.device.index for be in backends] == [0, 1, 0] and not reason
    with pytest.raises(BackendError, match="there is no GPU 5"):  # that is no reason for another backend
        make_backend("auto", gpu=5)


def test_a_machine_without_cards(machine):
    machine(gpus=0)
    assert why_not_cuda() == "no GPU on this machine" and make_backend("auto").name == "cpu"
    assert choose_backends("auto", 1, [0])[1] == ""  # nobody who has none wants to hear of it


@pytest.mark.parametrize("broken", [None, 0, 1])
def test_doctor_tries_every_card(machine, broken):
    drv = machine()
    drv.refused["cuModuleLoadDataEx"] = again(drv.Error("invalid image"))[:2] if broken == 0 else []
    if broken == 1:
        drv.refused["cuDevicePrimaryCtxRetain"] = [None, *again(FULL)]
    chosen, lines = doctor.examine()
    cards = [text for name, text in lines if name == "gpu"]
    assert chosen == ("cpu" if broken == 0 else "cuda") and len(cards) == 2
    assert [("MiB free" in card) for card in cards] == [broken != 0, broken != 1]
    assert dict(lines)["driver"] == "CUDA 13.0, 2 GPUs"


@pytest.mark.parametrize("versions", [{}, {"mpi4py": "4.1.2", "nccl4py": "0.6.0"}], ids=["missing", "there"])
def test_doctor_on_what_connects_ranks(machine, monkeypatch, versions):
    machine()
    monkeypatch.setattr(doctor, "version_of", lambda package: versions.get(package, "not installed"))
    monkeypatch.setattr(doctor.shutil, "which", {"mpiexec": "/opt/mpiexec"}.get)
    if versions:
        monkeypatch.setattr(doctor, "load_nccl", lambda: SimpleNamespace(get_version=lambda: 23203))
    else:
        monkeypatch.setitem(sys.modules, "nccl", None)
    lines = dict(doctor.examine()[1])
    if versions:
        assert lines["mpi"] == "mpi4py 4.1.2, /opt/mpiexec"
        assert lines["nccl"] == "2.32.3 by nccl4py 0.6.0: ranks exchange gradients from card to card"
        monkeypatch.setenv("CONVNET_NCCL", "0")
        assert dict(doctor.examine()[1])["nccl"] == "2.32.3 by nccl4py 0.6.0: not used, CONVNET_NCCL is 0"
    else:
        assert lines["mpi"].endswith("pip install '.[mpi]'") and lines["nccl"].endswith("; pip install '.[nccl]'")


def test_doctor_without_a_driver_that_answers(machine):
    drv = machine()
    drv.refused["cuDeviceGetCount"] = again(ZeroDivisionError("division by zero"))
    chosen, lines = doctor.examine()
    assert chosen == "cpu" and "division" in dict(lines)["cuda"]


@pytest.mark.parametrize(
    "error, said",
    [
        (ImportError("_driver.so: undefined symbol: cuGreenCtxCreate"), "built for a newer driver"),
        (ImportError("No module named 'pycuda'"), r"PyCUDA is missing \(No module"),
        (AttributeError(""), r"PyCUDA is missing \(AttributeError\)"),
    ],
)
def test_pycuda_that_cannot_be_loaded(monkeypatch, error, said):
    class Finder:
        @staticmethod
        def find_spec(name, *_):
            if name.startswith("pycuda"):
                raise error

    monkeypatch.setattr(machine_module.ctypes, "CDLL", lambda name: None)
    monkeypatch.setattr(sys, "meta_path", [Finder, *sys.meta_path])
    for name in ("pycuda", "pycuda.driver"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    with pytest.raises(BackendError, match=said):
        machine_module.load_driver()


def test_cached_memory_is_freed_first(machine):
    """By every device of the card, once."""
    drv = machine()
    one, other, elsewhere = make_backend("cuda"), make_backend("cuda"), make_backend("cuda", gpu=1)
    held = [be.empty((1 << 20,)) for be in (one, other, elsewhere)]
    del held
    with one.device._current:
        free, _ = drv.mem_get_info()
    assert one.memory()[0] == free + (8 << 20)  # as good as free
    out = one.empty((4,))
    for what, work in (
        ("cuModuleLoadDataEx", lambda: one.fill(out, 1.0)),
        ("cuMemAlloc_v2", lambda: one.empty((1 << 19,))),
        ("cublasCreate_v2", lambda: make_backend("cuda")),
    ):
        drv.refused[what] = again(drv.MemoryError("out of memory"))[:1]
        work()
        assert not drv.refused[what] and other.device.cached_bytes == 0
        del work
    assert one.device.cached_bytes == 0 and elsewhere.device.cached_bytes == 4 << 20
    elsewhere.device.trim_pool()  # with its context current, which here none is
    gc.collect()  # the third device of the card, which would end while the message is made
    drv.refused["cuMemAlloc_v2"] = again(drv.MemoryError("out of memory"))
    with one.device._current:
        free, _ = drv.mem_get_info()
    said = rf"card 0 has no room for 4 MiB more \({free >> 20} of 8192 MiB free\); lower --mini"
    with pytest.raises(BackendError, match=said):
        one.empty((1 << 20,))


@pytest.mark.parametrize("what", ["cuStreamBeginCapture_v2", "cuStreamEndCapture", "cuGraphInstantiateWithFlags", "inside"])
def test_captures_that_fail(machine, what):
    """Whatever the kind of error, steps can go on without."""
    drv = machine()
    be = make_backend("cuda")
    be.count_step(0)
    drv.refused[what] = again(RuntimeError(f"no {what}"))

    def capture():
        with be.capturing():
            be.zeros((1 << 20,))
            drv.refuse("inside")

    be.zeros((4,))
    be.device.trim_pool()
    before = drv.living()["arrays"]
    assert one_line(capture).endswith(f"no {what}")
    assert not be.device._capturing and drv.current() is None
    gc.collect()  # pytest's record of the error, which refers to itself
    be.device.trim_pool()
    assert drv.living()["arrays"] == before
    drv.refused.clear()
    with be.capturing() as captured:
        pass
    be.replay(captured[0])


def test_bindings_that_do_not_fit(monkeypatch, machine):
    """They are no reason to stop, and it is said why; not where nobody asked for captures."""
    machine()
    monkeypatch.setattr(driver, "load_graphs", graphs.load_graphs)
    monkeypatch.setattr(doctor, "load_graphs", graphs.load_graphs)
    monkeypatch.setitem(sys.modules, "cuda.bindings", None)
    be = make_backend("cuda")
    why = "cuda-bindings cannot be used (import of cuda.bindings halted; None in sys.modules); pip install '.[cuda]'"
    assert not be.captures and be.why_no_capture == why
    assert dict(doctor.examine()[1])["graphs"] == f"steps are issued op by op, which may take longer: {why}"
    monkeypatch.setenv("CONVNET_GRAPHS", "0")
    be = make_backend("cuda")
    assert not be.captures and not be.why_no_capture
    assert dict(doctor.examine()[1])["graphs"].endswith("longer: CONVNET_GRAPHS is 0")
