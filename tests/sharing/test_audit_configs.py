"""Configurations of strangers: what runs code is found, nothing of it runs, and what is stock passes."""

import json
import os
import warnings
from contextlib import suppress

import pytest

from kdmri_monai.sharing.audit import audit
from kdmri_monai.sharing.audit_findings import ARBITRARY, DANGER, HARMLESS, KNOWN
from kdmri_monai.sharing.expressions import expression_verdict

SHELL = "touch $CANARY"
RUN = f"__import__('os').system('{SHELL}')"

HOSTILE = {
    # a program as a component
    "target os.system": {"x": {"_target_": "os.system", "command": SHELL}},
    "target builtins.exec": {"x": {"_target_": "builtins.exec", "source": "1"}},
    "target of a bare builtin": {"x": {"_target_": "eval", "source": "1"}},
    "target subprocess.run": {"x": {"_target_": "subprocess.run", "args": ["touch", "c"]}},
    "target through a re-export of torch": {"x": {"_target_": "torch.optim.os.system", "command": SHELL}},
    "target through numpy of monai": {"x": {"_target_": "monai.transforms.utils.np.load", "file": "a.npy"}},
    "target with doubled dots": {"x": {"_target_": "os..system", "command": SHELL}},
    "target monai.bundle.run": {"x": {"_target_": "monai.bundle.run", "config_file": "/elsewhere/config.json"}},
    "target instantiate": {"x": {"_target_": "monai.utils.module.instantiate", "__path": "os.system"}},
    "target run_cmd by its short name": {"x": {"_target_": "run_cmd", "cmd_list": ["touch", "c"]}},
    "target cpp_extension": {"x": {"_target_": "torch.utils.cpp_extension.load", "name": "x", "sources": ["x.cpp"]}},
    "target torch.hub": {"x": {"_target_": "torch.hub.load", "repo_or_dir": "evil/evil", "model": "x"}},
    "target torch.load": {"x": {"_target_": "torch.load", "f": "models/model.pt"}},
    "target torch.load without weights_only": {"x": {"_target_": "torch.load", "f": "m.pt", "weights_only": False}},
    "target torch.jit.load": {"network_def": {"_target_": "torch.jit.load", "f": "models/model.ts"}},
    "target of the bundle's own": {"x": {"_target_": "scripts.net.Net"}},
    "target PerceptualLoss": {"x": {"_target_": "PerceptualLoss", "spatial_dims": 2, "cache_dir": "hub"}},
    "target by reference to text": {"name": "os.system", "x": {"_target_": "@name", "command": SHELL}},
    "target by expression": {"x": {"_target_": "$'os' + '.system'", "command": SHELL}},
    "target by macro": {"name": "os.system", "x": {"_target_": "%name", "command": SHELL}},
    "target exchanged by an overlay key": {"network_def::_target_": "os.system"},
    "target exchanged by an old overlay key": {"preprocessing#transforms#0#_target_": "os.system"},
    "target deep in lists": {"x": [[{"y": [{"z": {"_target_": "os.system", "command": SHELL}}]}]]},
    "a debugger": {"x": {"_target_": "DenseNet121", "_mode_": "debug"}},
    "a debugger as an argument": {"x": {"_target_": "DenseNet121", "_debug_": True}},
    # names that components import
    "reader of the bundle's own": {"x": {"_target_": "LoadImaged", "keys": "image", "reader": "evil.Reader"}},
    "reader by reference": {"r": "evil.Reader", "x": {"_target_": "LoadImaged", "keys": "image", "reader": "@r"}},
    "reader by expression": {"x": {"_target_": "LoadImaged", "keys": "image", "reader": "$'evil' + '.Reader'"}},
    "reader by overlay key": {"preprocessing::transforms::0::reader": "evil.Reader"},
    "reader in a list": {"x": {"_target_": "LoadImaged", "keys": "image", "reader": ["PILReader", "os.system"]}},
    "reader by an overlay of an element": {"preprocessing::transforms::0::reader::0": "evil.Reader"},
    "LoadImage called with data, by an overlay": {"x": {"_target_": "LoadImage"}, "x::_mode_": "callable"},
    "a text file that Python runs, by an overlay": {"y": "%x", "y::filename": "x.pth", "x": {"_target_": "CSVSaver"}},
    "import over two lines, had by reference": {
        "imports": ["$import\\\nos"],
        "x": "$@imports::0.replace('a.txt', 'b.py')",
    },
    "writer of the bundle's own": {"x": {"_target_": "SaveImaged", "keys": "pred", "writer": "evil.Writer"}},
    "merger of the bundle's own": {"x": {"_target_": "PatchInferer", "merger_cls": "evil.Merger"}},
    "LoadImage called with data": {
        "x": {"_target_": "Lambdad", "keys": "image", "func": {"_target_": "LoadImage", "_mode_": "callable"}}
    },
    "arrays with pickles": {"x": {"_target_": "NumpyReader", "allow_pickle": True}},
    "arrays with pickles through LoadImaged": {
        "x": {"_target_": "LoadImaged", "keys": "image", "reader": "NumpyReader", "allow_pickle": "$1 == 1"}
    },
    "a cache with pickles": {"x": {"_target_": "PersistentDataset", "cache_dir": "c", "weights_only": False}},
    "a text file that Python runs": {"x": {"_target_": "CSVSaver", "output_dir": "~", "filename": "x.pth"}},
    "a text file by a computed name": {"x": {"_target_": "CSVSaver", "filename": "$'x.py' if True else 'x.csv'"}},
    # expressions
    "expression with __import__": {"x": f"${RUN}"},
    "expression in _requires_": {"x": {"_target_": "DenseNet121", "_requires_": [f"${RUN}"]}},
    "expression in _disabled_": {"x": {"_target_": "DenseNet121", "_disabled_": f"${RUN}"}},
    "expression in an argument": {"x": {"_target_": "Dataset", "data": [{"image": [f"${RUN}"]}]}},
    "dunder chain": {"x": "$().__class__.__mro__[1].__subclasses__()"},
    "builtins of print": {"x": "$print.__self__.exec('1')"},
    "lambda": {"x": f"$(lambda: {RUN})()"},
    "lambda default": {"x": f"$lambda y={RUN}: y"},
    "comprehension": {"x": f"$[{RUN} for _ in [1]]"},
    "f-string": {"x": f'$f"{{{RUN}}}"'},
    "f-string format": {"x": f'$f"{{1:{{{RUN}}}}}"'},
    "format string": {"x": "$'{0.__class__}'.format(1)"},
    "walrus": {"x": f"$[y := {RUN}, y]"},
    "star arguments": {"x": f"$print(*[{RUN}])"},
    "keyword arguments unseen": {"k": {"weights_only": False}, "x": "$torch.load('m.pt', **@k)"},
    "getattr": {"x": "$getattr(os, 'sys' + 'tem')('touch c')"},
    "type of an object, called": {"x": "$type(@preprocessing.transforms[0])('image', reader='evil.Reader')"},
    "module handed to a lambda": {"x": "$(lambda m: m.system('touch c'))(os)"},
    "module by reference": {"x": "$@imports::1.replace('a.txt', 'b.py')"},
    "module by a list's reference": {"y": "%imports", "x": "$@y[1].replace('a.txt', 'b.py')"},
    "file moved by Path.replace": {"x": "$[p.replace('evil.py') for p in @paths]"},
    "full-width letters": {"x": "$\uff4f\uff53.system('touch c')"},
    "full-width attribute": {"x": "$os.\uff53ystem('touch c')"},
    "np.load with pickles": {"x": "$np.load('a.npy', allow_pickle=True)"},
    "torch.load in an expression": {"x": "$torch.load('m.pt')"},
    "LoadImage in an expression": {"x": "$monai.transforms.LoadImage('evil.Reader')"},
    "process group of a stranger": {"x": "$torch.distributed.init_process_group('gloo', init_method='tcp://e:1')"},
    "cannot be read": {"x": "$os.path.join('a'"},
    "surrogates": {"x": "$'\ud800'"},
    # imports
    "import subprocess": {"imports": ["$import subprocess"], "x": "$subprocess.run(['touch', 'c'])"},
    "import of the bundle's own": {"imports": ["$import scripts"]},
    "import under a built-in's name": {"imports": ["$from os import system as len"], "x": "$len('touch c')"},
    "import under a package's name": {"imports": ["$import os as torch"]},
    "import of everything": {"imports": ["$from os import *"]},
    "import and more": {"imports": ["$import os; os.system('touch c')"]},
    # text that MONAI puts together
    "keys as code": {f"classes and torch.os.system('{SHELL}') or 'x": {"y": "$@::z'"}},
    "keys as code by a macro mark": {RUN: {"y": "$1 %#z"}},
    "macro from outside": {"x": "%/elsewhere/config.json::evil"},
    "macro climbing": {"x": "%configs/inference.json/../../../../elsewhere/config.json::evil"},
    "macro from the folder above": {"x": "%../config.yaml#evil"},
    "spatial_shape": {"spatial_shape": ["().__class__.__base__.__subclasses__()"]},
}


@pytest.fixture
def canary(tmp_path, monkeypatch):
    """A file that every shell command of the corpus would make."""
    path = tmp_path / "canary"
    monkeypatch.setenv("CANARY", str(path))
    return path


def dangers(report):
    return [finding for finding in report.findings if finding.level == DANGER]


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_configuration_is_caught_and_nothing_of_it_runs(name, configure, canary):
    report = audit(configure(HOSTILE[name]))
    assert not report.safe
    assert {finding.file for finding in dangers(report)} == {"configs/inference.json"}
    assert all(finding.verdict == ARBITRARY and finding.reason for finding in dangers(report))
    assert not canary.exists()


def test_hostile_text_is_found_in_every_file_that_monai_reads(stock_bundle, canary):
    places = ("configs/metadata.json", "configs/logging.JSON", "docs/other.json", "smoke/datalist.json")
    for place in places:
        path = stock_bundle / place
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps({"x": f"${RUN}"}))
    assert {finding.file for finding in dangers(audit(stock_bundle))} == set(places)
    assert not canary.exists()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"x": "$' + RUN + '", "x": 1}', "twice"),
        ('{"x": 1', "not JSON"),
        ("[" * 100_000 + "]" * 100_000, "deeper"),
        ('\ufeff{"x": 1}', "byte order mark"),
        ('{"x": "' + "a" * (33 << 20) + '"}', "bytes, allowed"),
    ],
    ids=["repeated key", "damaged", "deep", "byte order mark", "oversized"],
)
def test_json_that_two_readers_could_read_differently_is_refused(text, words, stock_bundle, canary):
    (stock_bundle / "configs/train.json").write_text(text, encoding="utf-8")
    assert any(words in finding.reason for finding in dangers(audit(stock_bundle)))
    assert not canary.exists()


def test_a_value_behind_a_repeated_key_is_judged_too(stock_bundle):
    (stock_bundle / "configs/train.json").write_text('{"x": "$' + RUN + '", "x": 1}')
    assert any("__import__" in finding.text for finding in dangers(audit(stock_bundle)))


LAUGHS = "a: &a [1, 1, 1, 1, 1, 1, 1, 1, 1]\n" + "".join(
    f"{name}: &{name} [{', '.join([f'*{before}'] * 9)}]\n" for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("x: !!python/object/apply:os.system ['touch $CANARY']", "YAML"),
        ("x: &a [*a]", "deeper"),
        (LAUGHS, "parts"),
        ("x: 1\nx: $__import__('os').system('touch $CANARY')", "twice"),
    ],
    ids=["tag", "cycle", "laughs", "repeated key"],
)  # fmt: skip
def test_hostile_yaml_is_refused(text, words, stock_bundle, canary):
    pytest.importorskip("yaml")
    (stock_bundle / "configs/train.yaml").write_text(text)
    assert any(words in finding.reason for finding in dangers(audit(stock_bundle)))
    assert not canary.exists()


LOGGING = "[loggers]\nkeys=root\n[handlers]\nkeys=c\n[formatters]\nkeys=\n[logger_root]\nhandlers=c\n[handler_c]\n"


@pytest.mark.parametrize(
    "lines",
    [
        "class=StreamHandler\nargs=(__import__('os').system('touch $CANARY'),)",
        "class=__import__('os').system\nargs=('touch $CANARY',)",
        "class=eval\nargs=('1',)",
        "class=StreamHandler\nkwargs={'stream': __import__('os').popen('touch $CANARY')}",
        "class=StreamHandler\na=\",)[:0] or (__import__('os').system('touch $CANARY'),) #\nargs=(\"%(a)s\",)",
        "class=FileHandler\na=',) or (__import__('os').system('touch $CANARY'),) #\nargs=('%(a)s.log',)",
        "class=FileHandler\nargs=('/home/somebody/.bashrc',)",
        "class=FileHandler\nargs=('evil.py',)",
        "class=handlers.SocketHandler\nargs=('evil.example', 1)",
    ],
    ids=[
        "args",
        "class",
        "builtin",
        "kwargs",
        "interpolation",
        "interpolated name",
        "file outside",
        "file that runs",
        "socket",
    ],
)
def test_hostile_logging_files_are_refused(lines, stock_bundle, canary):
    (stock_bundle / "configs/logging.conf").write_text(LOGGING + lines + "\n")
    assert not audit(stock_bundle).safe
    assert not canary.exists()


def test_interpolation_in_a_logging_file_does_run_code_in_monai(tmp_path, canary):
    """Why ``%(name)s`` is refused: MONAI 1.6.1 takes the text for a literal, and ``fileConfig`` makes code of it."""
    from monai.bundle.workflows import _apply_logging_file

    lines = (
        'class=StreamHandler\nargs=("%(a)s",)\n'
        "a=\",)[:0] or (__import__('os').system('touch $CANARY'),)[:0] or (__import__('sys').stderr,) #\n"
    )
    (tmp_path / "logging.conf").write_text(LOGGING + lines)
    import logging

    before = list(logging.root.handlers), logging.root.level
    try:
        _apply_logging_file(str(tmp_path / "logging.conf"))
    finally:
        logging.root.handlers[:], logging.root.level = before
    assert canary.exists(), "MONAI no longer runs it: the note in audit_logging.py is out of date"


@pytest.mark.parametrize(
    "name", ["target os.system", "expression with __import__", "keys as code", "lambda default", "f-string"]
)
def test_the_corpus_is_live(name, configure, canary):
    """What the audit catches does run in MONAI, so that the corpus proves something."""
    from monai.bundle import ConfigParser

    path = configure(HOSTILE[name]) / "configs/inference.json"
    parser = ConfigParser(json.loads(path.read_text()))
    place = next(iter(HOSTILE[name]))
    with warnings.catch_warnings(), suppress(Exception):  # how the rest fails, after the command, is MONAI's affair
        warnings.simplefilter("ignore")
        parser.get_parsed_content(place if "keys" not in name else f"{place}::y")
    assert canary.exists()


def test_a_stock_bundle_is_safe_and_every_part_is_named(stock_bundle):
    report = audit(stock_bundle)
    assert report.safe, dangers(report)
    verdicts = {finding.id: finding.verdict for finding in report.findings if finding.group == "configuration"}
    assert verdicts["network_def::_target_"] == KNOWN
    assert verdicts["imports::0"] == HARMLESS
    assert verdicts["inference"] == HARMLESS
    assert {"dataset::data", "handlers::0::_disabled_", "preprocessing::transforms::0::reader"} <= verdicts.keys()


SPLEEN = {
    "imports": ["$import glob", "$import os", "$import ignite"],
    "bundle_root": "/workspace/spleen",
    "output_dir": "$@bundle_root + '/eval'",
    "dataset_dir": "/workspace/data/Task09_Spleen",
    "images": "$list(sorted(glob.glob(@dataset_dir + '/imagesTr/*.nii.gz')))",
    "labels": "$list(sorted(glob.glob(@dataset_dir + '/labelsTr/*.nii.gz')))",
    "val_interval": 5,
    "device": "$torch.device('cuda:0' if torch.cuda.is_available() else 'cpu')",
    "network_def": {"_target_": "UNet", "spatial_dims": 3, "in_channels": 1, "out_channels": 2,
                    "channels": [16, 32], "strides": [2], "norm": "batch"},
    "network": "$@network_def.to(@device)",
    "loss": {"_target_": "DiceCELoss", "to_onehot_y": True, "softmax": True},
    "optimizer": {"_target_": "torch.optim.Adam", "params": "$@network.parameters()", "lr": 0.0001},
    "train": {
        "dataset": {
            "_target_": "CacheDataset",
            "data": "$[{'image': i, 'label': l} for i, l in zip(@images[:-9], @labels[:-9])]",
            "transform": {"_target_": "Compose", "transforms": [
                {"_target_": "LoadImaged", "keys": ["image", "label"]},
                {"_target_": "Spacingd", "keys": ["image", "label"], "pixdim": [1.5, 1.5, 2.0]},
            ]},
        },
        "inferer": {"_target_": "SlidingWindowInferer", "roi_size": [96, 96, 96]},
        "handlers": [
            {"_target_": "ValidationHandler", "validator": "@validate#evaluator", "interval": "@val_interval"},
            {"_target_": "StatsHandler", "tag_name": "train_loss",
             "output_transform": "$monai.handlers.from_engine(['loss'], first=True)"},
            {"_target_": "TensorBoardStatsHandler", "log_dir": "@output_dir", "tag_name": "train_loss",
             "output_transform": "$monai.handlers.from_engine(['loss'], first=True)"},
        ],
        "trainer": {"_target_": "SupervisedTrainer", "max_epochs": 100, "device": "@device"},
    },
    "validate": {
        "key_metric": {"val_mean_dice": {"_target_": "MeanDice", "include_background": False,
                                         "output_transform": "$monai.handlers.from_engine(['pred', 'label'])"}},
        "evaluator": {"_target_": "SupervisedEvaluator", "device": "@device"},
    },
    "initialize": ["$monai.utils.set_determinism(seed=123)", "$setattr(torch.backends.cudnn, 'benchmark', True)"],
    "run": ["$@train#trainer.run()"],
}  # fmt: skip
MULTI_GPU = {
    "device": "$torch.device(f'cuda:{dist.get_rank()}')",
    "imports": ["$import torch.distributed as dist"],
    "network": {"_target_": "torch.nn.parallel.DistributedDataParallel", "module": "$@network_def.to(@device)"},
    "train#sampler": {"_target_": "DistributedSampler", "dataset": "@train#dataset", "even_divisible": True},
    "initialize": ["$import torch.distributed as dist", "$dist.is_initialized() or dist.init_process_group('nccl')",
                   "$torch.cuda.set_device(@device)"],
    "finalize": ["$dist.is_initialized() and dist.destroy_process_group()"],
}  # fmt: skip
CLASSIFICATION = """
imports:
- $import glob
- $import os
- $import datetime
bundle_root: .
output_dir: $datetime.datetime.now().strftime(@bundle_root + '/output/%y%m%d_%H%M%S')
dataset_dir: $@bundle_root + '/data'
datalist: $monai.data.load_decathlon_datalist(@dataset_dir + '/list.json', data_list_key='training')
network_def: {_target_: monai.networks.nets.EfficientNetBN, model_name: efficientnet-b0, spatial_dims: 2}
loss_function: {_target_: torch.nn.CrossEntropyLoss, reduction: sum}
optimizer: {_target_: torch.optim.Adam, params: $@network_def.parameters(), lr: 0.001}
postprocessing:
  _target_: Compose
  transforms:
  - {_target_: Activationsd, keys: pred, softmax: true}
  - {_target_: Lambdad, keys: [pred, label], func: '$lambda x: x.argmax(dim=0)'}
evaluator: {_target_: SupervisedEvaluator, val_handlers: [{_target_: MetricsSaver, save_dir: '@output_dir'}]}
run: [$@evaluator.run()]
"""


def zoo_bundle(folder, **configs):
    for name, content in configs.items():
        file, _, suffix = name.rpartition("_")
        path = folder / "configs" / f"{file}.{suffix}"
        path.write_text(content if suffix == "yaml" else json.dumps(content))
    return folder


def test_bundles_in_the_style_of_the_model_zoo_are_safe_where_they_are_stock(stock_bundle):
    pytest.importorskip("yaml")
    configs = {"train_json": SPLEEN, "multi_gpu_train_json": MULTI_GPU, "other_yaml": CLASSIFICATION}
    report = audit(zoo_bundle(stock_bundle, **configs))
    assert report.safe, dangers(report)
    judged = [finding for finding in report.findings if finding.group == "configuration" and finding.verdict]
    assert len(judged) > 60


def test_a_zoo_bundle_with_scripts_is_not_safe_and_the_reasons_name_them(stock_bundle):
    (stock_bundle / "scripts").mkdir()
    (stock_bundle / "scripts/__init__.py").write_text("from .net import Net\n")
    (stock_bundle / "scripts/net.py").write_text("class Net: pass\n")
    config = {**SPLEEN, "imports": ["$import scripts"], "network_def": {"_target_": "scripts.net.Net"}}
    report = audit(zoo_bundle(stock_bundle, train_json=config))
    assert not report.safe
    reasons = {(finding.file, finding.id) for finding in dangers(report)}
    assert {("scripts/__init__.py", ""), ("scripts/net.py", ""), ("configs/train.json", "imports::0")} <= reasons
    assert ("configs/train.json", "network_def::_target_") in reasons


@pytest.mark.parametrize(
    "text",
    [
        "$lambda x: x['pred']",
        "$not os.path.exists(@path)",
        "$torch.load(@path, weights_only=True)",
        "$'{}-{:03d}'.format(@name, 3)",
        "$[*@a.parameters(), *(() if @b is None else @b.parameters())]",
        "$int(np.ceil(@size / 2))",
        "$type(@network).__name__",
        "$getattr(@network, 'uses', 'image')",
        "$@path.replace('images', 'labels')",
        "$ignite.engine.Events.EPOCH_COMPLETED(every=2)",
    ],
)
def test_common_expressions_are_harmless(text):
    assert expression_verdict(text).harmless, expression_verdict(text).reason


def test_the_attributes_allowed_on_anything_are_no_functions_of_os():
    """Should a module ever be handed on: ``replace`` alone, and references to modules are refused."""
    from kdmri_monai.sharing.audit_attributes import ATTRIBUTES

    assert {name for name in ATTRIBUTES if callable(getattr(os, name, None))} == {"replace"}
