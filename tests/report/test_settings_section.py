import pytest

from kdmri_monai.report.sections.settings import device_words


@pytest.mark.parametrize(
    ("record", "words"),
    [
        ({"environment": {"cuda_device": None, "threads": 2}}, "CPU, 2 threads"),
        ({"environment": {"cuda_device": "A100"}, "processes": None}, "A100"),
        ({"environment": {"cuda_device": "A100"}, "processes": {"world_size": 1, "backend": None}}, "A100"),
        (
            {"environment": {"threads": 1}, "processes": {"world_size": 2, "backend": "gloo"}},
            "CPU, 1 threads, 2 processes by gloo",
        ),
    ],
)
def test_a_run_of_several_processes_says_so(record, words):
    assert device_words(record) == words
