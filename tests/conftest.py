"""One thread a process: the tensors of tests are small, and threads that wait for each other cost more than they give."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # read when torch is first imported, in subprocesses too
