"""What processes tell each other: means of gradients, agreements, and what the first one alone does."""

import io
import json
from pathlib import Path

import pytest
import torch
from ignite.engine import Engine
from torch import nn

from kdmri_monai.engines import TermBar, join_processes, start_run
from kdmri_monai.engines.process_average import average_gradients, share_of_true


def averaged(_):
    join_processes("cpu")
    rank = torch.distributed.get_rank()
    parameters = [nn.Parameter(torch.ones(shape)) for shape in ((2, 3), (4,), (1,), ())]
    parameters[0].grad = torch.full((2, 3), 1.0 + 2 * rank)
    if rank:
        parameters[1].grad = torch.arange(4.0)
    parameters[3].grad = torch.tensor(6.0 * rank)
    average_gradients([*parameters, nn.Parameter(torch.ones(1), requires_grad=False)])
    average_gradients([])
    shares = [share_of_true(rank == 0), share_of_true(True), share_of_true(torch.tensor(False))]
    return [parameter.grad for parameter in parameters], shares


def test_gradients_are_averaged_and_a_layer_that_nobody_uses_keeps_none(two_processes):
    for gradients, shares in two_processes(averaged, None):
        torch.testing.assert_close(gradients[0], torch.full((2, 3), 2.0))
        torch.testing.assert_close(gradients[1], torch.arange(4.0) / 2)
        assert gradients[2] is None
        assert gradients[3] == 3.0
        assert shares == [0.5, 1.0, 0.0]


def opened_twice(folder, datalist):
    join_processes("cpu")
    start_run(f"{folder}/run", {"seed": 1}, datalist)
    Path(f"{folder}/run/checkpoint.pt").touch()
    torch.distributed.barrier()
    start_run(f"{folder}/run", {"seed": 1}, datalist)


@pytest.fixture
def datalist(tmp_path):
    def entry(number):
        same = {"patient": f"{number}", "family": f"{number}", "id": f"{number}", "source": f"{number}.mat"}
        file = {"image": f"images.npy#{number}", "size": [16, 16], "sha256": f"{number:064x}"}
        return same | file | {"label": number % 3, "fold": 0, "patient_source": "cjdata/PID"}

    splits = {"training": [entry(0), entry(1)], "validation": [entry(2)], "test": [entry(3)]}
    names = ["meningioma", "glioma", "pituitary tumour"]
    content = {"format": "kdmri-datalist-1", "name": "four", "description": "", "numClasses": 3, "classes": names,
               "group_rule": "family", "folds": 5, "fold": 0, "seed": 0, **splits,
               "numTraining": 2, "numValidation": 1, "numTest": 1}  # fmt: skip
    path = tmp_path / "datalist.json"
    path.write_text(json.dumps(content))
    return path


def test_a_refused_folder_is_refused_in_all_processes(two_processes, tmp_path, datalist):
    first, second = two_processes(opened_twice, str(tmp_path), str(datalist), failing=True)
    assert first.startswith("FileExistsError: output_dir")
    assert second.startswith("OtherProcessError: the first process failed: FileExistsError: output_dir")
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert record["processes"] == {"world_size": 2, "backend": "gloo"}


def shown(_):
    join_processes("cpu")
    screen = io.StringIO()
    engine = Engine(lambda *_: {"loss": torch.tensor(0.25), "terms": {}})
    TermBar(every=1, file=screen, mininterval=0.0).attach(engine)
    engine.run(range(3))
    return screen.getvalue()


def test_the_first_process_alone_shows_its_progress(two_processes):
    first, second = two_processes(shown, None)
    assert "loss=0.25" in first
    assert second == ""
