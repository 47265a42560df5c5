"""Benchmarks run with small settings and say what they measured."""

import importlib.util
import json
import sys
from pathlib import Path

import pytest

from kdmri_monai.losses import Terms

ROOT = Path(__file__).resolve().parents[1]


def report(name, monkeypatch, capsys, *arguments):
    spec = importlib.util.spec_from_file_location(name, ROOT / "benchmarks" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(sys, "argv", [name, *map(str, arguments), "--device", "cpu"])
    module.main()
    return json.loads(capsys.readouterr().out)


def test_the_overhead_of_every_term_is_told(monkeypatch, capsys):
    small = ["--image_size", 64, "--batch_size", 6, "--embed_dim", 12, "--rounds", 1, "--steps", 1]
    told = report("terms", monkeypatch, capsys, *small)
    assert sorted(told["ratio"]) == sorted(name.lower() for name in Terms.names)
    times = told["milliseconds per step"]
    assert min(times.values()) > 0
    for name, ratio in told["ratio"].items():
        base = "geometry head, without term" if name == "geometry" else "without term"
        assert ratio == pytest.approx(times[name] / times[base], rel=0.02)
    assert told["without teacher"] == pytest.approx(times["without teacher"] / times["without term"], rel=0.02)
