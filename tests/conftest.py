"""One thread a process, and functions of tests that run in two processes.

The tensors of tests are small, and threads that wait for each other cost more than they give.
"""

import importlib.util
import inspect
import multiprocessing
import os
import runpy
import socket
import sys

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")  # read when torch is first imported, in subprocesses too

PATIENCE = 120
"""Seconds after which two processes are taken to wait for each other for ever."""


@pytest.fixture(scope="session")
def two_processes(tmp_path_factory):
    """Runs a function of a test file in two processes that torchrun might have started, and gives what both returned.

    With ``failing=True`` it gives what both raised, as ``NameOfTheError: message``. The function joins the processes
    itself. Both are forked from a server that has imported MONAI once.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["kdmri_monai.engines", "kornia", "torch.utils.tensorboard"])

    def run(work, *given, failing=False):
        folder = tmp_path_factory.mktemp("processes")
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        jobs = [(inspect.getfile(work), work.__name__, given, rank, port, folder / str(rank)) for rank in range(2)]
        started = [context.Process(target=runpy.run_path, args=(__file__, {"JOB": job}, "one of two")) for job in jobs]
        for process in started:
            process.start()
        for process in started:
            process.join(PATIENCE)
        waiting = [process for process in started if process.is_alive()]
        for process in waiting:
            process.kill()
        assert not waiting, f"{len(waiting)} of 2 processes did not end"
        import torch

        told = [torch.load(job[-1], weights_only=False) for job in jobs]
        errors = [error for _, error in told]
        assert failing or errors == [None, None], "\n".join(filter(None, errors))
        return errors if failing else [value for value, _ in told]

    return run


def one_of_two(file, name, given, rank, port, out):
    """The child: imports the test file, calls the function, writes down what came of it."""
    import torch

    from kdmri_monai.engines import leave_processes
    from kdmri_monai.engines.explain import first_cause

    names = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": 2, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    os.environ |= {key: str(value) for key, value in names.items()}
    torch.set_num_threads(1)
    spec = importlib.util.spec_from_file_location("work_of_two", file)
    sys.modules[spec.name] = module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    value, error = None, None
    try:
        value = getattr(module, name)(*given)
    except Exception as caught:  # noqa: BLE001  # the test looks at it
        cause = first_cause(caught)
        error = f"{type(cause).__name__}: {cause}"
    torch.save((value, error), out)
    leave_processes()


if __name__ == "one of two":
    one_of_two(*JOB)  # noqa: F821  # given by run_path
