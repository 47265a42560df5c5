"""Weights of strangers, judged by what they hold; the canary tells that nothing was unpickled."""

import io
import json
import os
import pickle
import zipfile

import numpy as np
import pytest
import torch

from kdmri_monai.sharing.audit import audit
from kdmri_monai.sharing.audit_arithmetic import is_arithmetic, is_guard
from kdmri_monai.sharing.audit_findings import DANGER
from kdmri_monai.sharing.audit_pickle import pickled_globals, unsafe
from kdmri_monai.sharing.weights_audit import weights_audit

pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning")


@pytest.fixture
def canary(tmp_path, monkeypatch):
    path = tmp_path / "canary"
    monkeypatch.setenv("CANARY", str(path))
    return path


class Hostile:
    def __reduce__(self):
        return os.system, ("touch $CANARY",)


def torch_zip(content):
    file = io.BytesIO()
    torch.save(content, file)
    return file.getvalue()


def legacy(content):
    file = io.BytesIO()
    torch.save(content, file, _use_new_zipfile_serialization=False)
    return file.getvalue()


def npy(content):
    file = io.BytesIO()
    np.save(file, content, allow_pickle=True)
    return file.getvalue()


def npz(content):
    file = io.BytesIO()
    np.savez(file, content=content)
    return file.getvalue()


def rezipped(data, change):
    """A zip archive with some members exchanged; ``change`` gives content for a name, or ``None``."""
    file = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(file, "w") as new:
        top = old.namelist()[0].split("/")[0]
        members = {name: old.read(name) for name in old.namelist()}
        for name, content in {**members, **change(top, members)}.items():
            new.writestr(name, content)
    return file.getvalue()


def script():
    file = io.BytesIO()
    torch.jit.save(torch.jit.trace(torch.nn.Linear(2, 2), torch.zeros(1, 2)), file)
    return file.getvalue()


def exported():
    file = io.BytesIO()
    shape = {0: torch.export.Dim("batch", min=1)}
    program = torch.export.export(torch.nn.Linear(2, 2), (torch.zeros(3, 2),), dynamic_shapes=(shape,))
    torch.export.save(program, file)
    return file.getvalue()


def spoiled_program(**changes):
    def change(top, members):
        model = json.loads(members[f"{top}/models/model.json"])
        for key, value in changes.items():
            _exchange(model, key, value)
        return {f"{top}/models/model.json": json.dumps(model)}

    return rezipped(exported(), change)


def _exchange(node, key, value):
    for name, inner in node.items() if isinstance(node, dict) else enumerate(node):
        if name == key:
            node[name] = value
        elif isinstance(inner, (dict, list)):
            _exchange(inner, key, value)


def onnx_model(domain="", location=None):
    onnx = pytest.importorskip("onnx")
    from onnx import TensorProto, helper

    weight = helper.make_tensor("w", TensorProto.FLOAT, [1], [1.0])
    if location is not None:
        weight.ClearField("float_data")
        weight.data_location = TensorProto.EXTERNAL
        weight.external_data.add(key="location", value=location)
    value = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in "xy"]
    node = helper.make_node("Add", ["x", "w"], ["y"], domain=domain)
    graph = helper.make_graph([node], "g", value[:1], value[1:], [weight])
    return onnx.helper.make_model(graph).SerializeToString()


CODE = b"def forward(self, x: Tensor) -> Tensor:\n  _0 = torch.from_file('/etc/passwd', False, 10)\n  return _0\n"
OPERATOR = b"def forward(self, x: Tensor) -> Tensor:\n  return ops.evil.run(x)\n"
TREE = '[1, {"type": "collections.defaultdict", "context": "evil", "children_spec": []}]'
SYMPY = "__import__('os').system('touch $CANARY')"
HOSTILE = {
    "checkpoint": ("model.pt", lambda: torch_zip({"a": Hostile()})),
    "old checkpoint": ("model.pt", lambda: legacy({"a": Hostile()})),
    "whole network": ("model.pt", lambda: torch_zip(torch.nn.Linear(2, 2))),
    **{
        f"pickle of protocol {protocol}": ("model.pt", lambda protocol=protocol: pickle.dumps(Hostile(), protocol))
        for protocol in range(6)
    },
    "pickle behind a harmless one": ("model.pt", lambda: pickle.dumps(1, 2) + pickle.dumps(Hostile(), 2)),
    "pickle with a name put together": (
        "model.pt",
        lambda: b"\x80\x04\x8c\x02os\x94\x8c\x06system\x940h\x00h\x01\x93\x8c\x0ctouch $CANARY\x85R.",
    ),
    "pickle that breaks off": ("model.pt", lambda: pickle.dumps(Hostile(), 2)[:-1] + b"\xff"),
    "pickle called safetensors": ("model.safetensors", lambda: pickle.dumps(Hostile(), 4)),
    "checkpoint called safetensors": ("model.safetensors", lambda: torch_zip({"a": Hostile()})),
    "pickle called as text": ("../docs/notes.txt", lambda: pickle.dumps(Hostile(), 0)),
    "array of objects": ("a.npy", lambda: npy(np.array([Hostile()], dtype=object))),
    "archive of arrays": ("a.npz", lambda: npz(np.array([Hostile()], dtype=object))),
    "array with a field of objects": ("a.npy", lambda: npy(np.zeros(1, dtype=[("a", "O")]))),
    "program with a pickle": (
        "model.ts", lambda: rezipped(script(), lambda top, _: {f"{top}/data.pkl": pickle.dumps(Hostile(), 2)})
    ),
    "program with a pickle of constants": (
        "model.ts", lambda: rezipped(script(), lambda top, _: {f"{top}/constants.pkl": pickle.dumps(Hostile(), 2)})
    ),
    "program that reads files": (
        "model.ts", lambda: rezipped(script(), lambda top, _: {f"{top}/code/__torch__/x.py": CODE})
    ),
    "program with foreign operators": (
        "model.ts", lambda: rezipped(script(), lambda top, _: {f"{top}/code/__torch__/x.py": OPERATOR})
    ),
    "program with a hostile configuration": (
        "model.ts",
        lambda: rezipped(script(), lambda top, _: {f"{top}/extra/inference.json": json.dumps({"x": "$" + SYMPY})}),
    ),
    "exported program with a size that is code": ("model.pt2", lambda: spoiled_program(expr_str=SYMPY)),
    "exported program with guards": ("model.pt2", lambda: spoiled_program(guards_code=[SYMPY])),
    "exported program with an operator of os": ("model.pt2", lambda: spoiled_program(target="torch.os.system")),
    "exported program with a tree that imports": (
        "model.pt2",
        lambda: spoiled_program(in_spec=TREE),
    ),
    "exported program with pickled weights": (
        "model.pt2",
        lambda: rezipped(exported(), lambda top, _: {f"{top}/data/weights/weight_0": torch_zip({"a": Hostile()})}),
    ),
    "exported program with a pickled constant": (
        "model.pt2",
        lambda: rezipped(exported(), lambda top, _: {f"{top}/data/constants/custom_obj_0": pickle.dumps(Hostile(), 2)}),
    ),
    "exported program with compiled code": (
        "model.pt2", lambda: rezipped(exported(), lambda top, _: {f"{top}/data/aotinductor/m/x.so": b"\x7fELF"})
    ),
    "ONNX with foreign operators": ("model.onnx", lambda: onnx_model(domain="evil")),
    "ONNX with weights elsewhere": ("model.onnx", lambda: onnx_model(location="../../etc/passwd")),
    "safetensors with a rest": ("model.safetensors", lambda: b"\x02" + bytes(7) + b"{}" + b"rest"),
    "safetensors with an archive behind": (
        "model.safetensors", lambda: b"\x02" + bytes(7) + b"{}" + torch_zip({"a": torch.ones(1)})
    ),
    "compiled program called weights": ("model.pt", lambda: b"\x7fELF" + bytes(100)),
    "shared library": ("libx.so", lambda: b"\x7fELF" + bytes(100)),
    "Python path file": ("x.pth", lambda: b"import os; os.system('touch $CANARY')\n"),
    "compiled Python": ("../x.pyc", lambda: b"\xa7\r\r\n" + bytes(12)),
    "Python at the top": ("../torch.py", lambda: b"import os\n"),
    "git hooks": ("../.git/config", lambda: b"[core]\n fsmonitor = touch $CANARY\n"),
}  # fmt: skip


@pytest.mark.parametrize("kind", HOSTILE)
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")  # torch, while it exports
def test_hostile_files_are_caught_and_nothing_is_unpickled(kind, stock_bundle, canary):
    name, make = HOSTILE[kind]
    path = stock_bundle / "models" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(make())
    report = audit(stock_bundle)
    assert not report.safe
    wanted = os.path.relpath(path, stock_bundle)
    assert any(finding.level == DANGER and finding.file.startswith(wanted) for finding in report.findings)
    assert not canary.exists()


def test_the_corpus_is_live(canary):
    with pytest.raises(Exception):  # noqa: B017, PT011 - how the rest fails is PyTorch's affair
        torch.load(io.BytesIO(legacy({"a": Hostile()})), weights_only=False).fail()
    assert canary.exists()


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")  # torch, while it exports
def test_weights_in_every_good_form_pass(stock_bundle):
    from safetensors.torch import save_file

    state = {"a": torch.ones(2, 3), "b": torch.ones(2, dtype=torch.bfloat16), "c": torch.ones(1, dtype=torch.int64)}
    models = stock_bundle / "models"
    save_file(state, models / "model.safetensors")
    for name, data in {
        "old.pt": legacy(state), "model.ts": script(), "model.pt2": exported(), "model.onnx": onnx_model(),
        "a.npz": npz(np.ones(3)), "b.npy": npy(np.ones(3, dtype=[("a", "<f4")])),
    }.items():  # fmt: skip
        (models / name).write_bytes(data)
    report = audit(stock_bundle)
    assert report.safe, report.of(DANGER)
    told = {finding.file: finding.level for finding in report.findings if finding.group == "weights"}
    assert told == {
        "models/model.pt": "ok", "models/model.safetensors": "ok", "models/old.pt": "remark",
        "models/model.ts": "warning", "models/model.pt2": "warning", "models/model.onnx": "ok",
        "models/a.npz:content.npy": "ok", "models/b.npy": "ok",
    }  # fmt: skip


@pytest.mark.filterwarnings("ignore:.*:UserWarning")  # torch, of its rarer kinds of numbers
def test_the_allow_list_of_pickles_agrees_with_weights_only():
    """Whatever is found harmless here, PyTorch reads with ``weights_only=True``."""
    kinds = [name for name in dir(torch) if isinstance(getattr(torch, name), torch.dtype)]
    tensors = {}
    for name in kinds:
        try:
            tensors[name] = torch.zeros(2).to(getattr(torch, name))
        except (RuntimeError, NotImplementedError, TypeError):
            continue
    tensors["parameter"] = torch.nn.Parameter(torch.ones(2))
    tensors["sparse"] = torch.eye(3).to_sparse()
    content = {**tensors, "size": torch.Size([1]), "device": torch.device("cpu"), "dtype": torch.float32, "set": {1}}
    data = torch_zip(content)
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        found = pickled_globals(archive.read("archive/data.pkl"))
    assert unsafe(found) == []
    assert torch.load(io.BytesIO(data), weights_only=True).keys() == content.keys()
    assert len(found) > 12


@pytest.mark.parametrize("text", ["Symbol('s77', positive=True, integer=True)", "s0*2 + 1", "Max(1, s0)//2", "8"])
def test_sizes_are_arithmetic(text):
    assert is_arithmetic(text)


@pytest.mark.parametrize(
    "text", [SYMPY, "().__class__", "s0.x", "Symbol('a b')", "(lambda: 1)()", "eval(s0)", "f'{1}'"]
)
def test_what_is_no_arithmetic_is_told(text):
    assert not is_arithmetic(text)


def test_guards_compare_sizes_only():
    assert is_guard("L['x'].size()[1] == 3")
    assert not is_guard("L['x'].load() == 3")
    assert not is_guard("open('x')")


def test_a_file_that_is_not_weights_is_not_spoken_of(tmp_path):
    (tmp_path / "README.md").write_text("cos of this\nStudents.\n")
    assert weights_audit("README.md", tmp_path / "README.md") == ([], {})
