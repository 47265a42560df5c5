"""A bundle goes to the Hugging Face Hub and comes back: MONAI's and the hub's own code, against a hub on this machine.

The stand-in serves the addresses that ``huggingface_hub`` asks for: repository, preupload, commit, tags, files.
"""

import base64
import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

import huggingface_hub
import pytest
import torch
import yaml
from monai.bundle import download, push_to_hf_hub
from monai.networks.nets import resnet10
from safetensors.torch import load_file, save_file

REPO, NAME = "lab-a/brain_tumour_classification", "brain_tumour_classification"
IGNORED = ["eval/*", "**/__pycache__/*", "*.log"]


class Hub(ThreadingHTTPServer):
    """One repository in memory: ``files`` by path as last committed, ``tags``, and requests that are not known here."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Answer)
        self.created, self.files, self.tags, self.refused = None, {}, {}, []
        self.address = f"http://127.0.0.1:{self.server_address[1]}"

    @property
    def commit(self):
        """Name of the state, 40 hexadecimal digits."""
        return hashlib.sha1(repr(sorted(self.files.items())).encode(), usedforsecurity=False).hexdigest()


def _oid(content):
    """Name of a file's content, as git gives it."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


class Answer(BaseHTTPRequestHandler):
    """The addresses; anything else is 404 and noted."""

    protocol_version = "HTTP/1.1"
    server: Hub

    def log_message(self, *_):
        """Nothing to standard error."""

    def _send(self, status, content=b"", **headers):
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        for name, value in {"Content-Length": len(body), "X-Repo-Commit": self.server.commit, **headers}.items():
            self.send_header(name.replace("_", "-"), str(value))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _body(self):
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def _unknown(self):
        self.server.refused.append(f"{self.command} {self.path}")
        self._send(404, {"error": f"no such address: {self.path}"})

    def do_POST(self):
        path, body = urlsplit(self.path).path, self._body()
        if self.headers.get("Authorization") != "Bearer hf_test":
            return self._send(401, {"error": "no token"})
        if path == "/api/repos/create":
            self.server.created = json.loads(body)
            return self._send(200, {"url": f"{self.server.address}/{REPO}", "name": REPO})
        if path == f"/api/models/{REPO}/preupload/main":
            files = [{**file, "uploadMode": "regular", "shouldIgnore": False} for file in json.loads(body)["files"]]
            return self._send(200, {"files": files})
        if path == f"/api/models/{REPO}/commit/main":
            for line in map(json.loads, body.splitlines()):
                if line["key"] == "file":
                    self.server.files[line["value"]["path"]] = base64.b64decode(line["value"]["content"])
            url = f"{self.server.address}/{REPO}/commit/{self.server.commit}"
            return self._send(200, {"commitUrl": url, "commitOid": self.server.commit, "hookOutput": ""})
        if path == f"/api/models/{REPO}/tag/main":
            self.server.tags[json.loads(body)["tag"]] = self.server.commit
            return self._send(201, {})
        if path == "/api/validate-yaml":
            return self._send(200, {"errors": [], "warnings": []})
        return self._unknown()

    def do_GET(self):
        path = unquote(urlsplit(self.path).path)
        if path == f"/api/models/{REPO}/refs":
            tags = [{"name": t, "ref": f"refs/tags/{t}", "targetCommit": c} for t, c in self.server.tags.items()]
            return self._send(200, {"branches": [], "converts": [], "tags": tags})
        if path.startswith(f"/api/models/{REPO}/tree/"):
            files = self.server.files.items()
            return self._send(200, [{"type": "file", "path": n, "size": len(c), "oid": _oid(c)} for n, c in files])
        if path.startswith(f"/api/models/{REPO}"):
            siblings = [{"rfilename": name} for name in sorted(self.server.files)]
            return self._send(200, {"id": REPO, "sha": self.server.commit, "siblings": siblings})
        home, _, rest = path.partition("/resolve/")
        name = rest.partition("/")[2]
        if home == f"/{REPO}" and name in self.server.files:
            content = self.server.files[name]
            return self._send(200, content, ETag=f'"{_oid(content)}"')
        return self._unknown()

    do_HEAD = do_GET


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """A hub on this machine, which ``huggingface_hub`` takes for the real one."""
    server = Hub()
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    constants = huggingface_hub.constants
    monkeypatch.setattr(constants, "ENDPOINT", server.address)
    monkeypatch.setattr(
        constants, "HUGGINGFACE_CO_URL_TEMPLATE", server.address + "/{repo_id}/resolve/{revision}/{filename}"
    )
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def bundle(tmp_path):
    """An unpacked bundle of the form that ``kdmri pack`` writes, small, and things beside it that stay at home."""
    root = tmp_path / "packed" / NAME
    for folder in ("configs", "docs", "models", "eval"):
        (root / folder).mkdir(parents=True)
    network = {"_target_": "resnet10", "spatial_dims": 2, "n_input_channels": 1, "num_classes": 3}
    network |= {"conv1_t_stride": 2, "widen_factor": 0.125}
    state = resnet10(**{name: value for name, value in network.items() if name != "_target_"}).state_dict()
    torch.save(state, root / "models" / "model.pt")
    save_file(state, root / "models" / "model.safetensors")
    (root / "configs" / "inference.json").write_text(json.dumps({"network_def": network}))
    (root / "configs" / "metadata.json").write_text(json.dumps({"version": "0.1.0", "network_data_format": {}}))
    (root / "docs" / "README.md").write_text("# Brain tumour classification\n\nA student, distilled.\n")
    (root / "LICENSE").write_bytes((Path(__file__).parents[2] / "LICENSE").read_bytes())
    (root / "eval" / "scans_of_patients.csv").write_text("not for the hub")
    (root / "train.log").write_text("nor this")
    return root


def pushed(bundle, **given):
    return push_to_hf_hub(REPO, NAME, str(bundle.parent), token="hf_test", ignore_patterns=IGNORED, **given)


def test_a_pushed_bundle_is_on_the_hub_file_by_file_and_no_more(hub, bundle):
    pushed(bundle, version="0.1.0", tag_as_latest_version=True)
    expected = {path.relative_to(bundle).as_posix() for path in bundle.rglob("*") if path.is_file()}
    assert hub.files.keys() == expected - {"eval/scans_of_patients.csv", "train.log"}
    assert all(content == (bundle / name).read_bytes() for name, content in hub.files.items())
    assert hub.tags == {"0.1.0": hub.commit, "latest_version": hub.commit}
    assert hub.created["visibility"] == "private"
    assert not [line for line in hub.refused if line.startswith("POST")]


def test_the_readme_becomes_the_model_card_with_the_licence_of_the_bundle(hub, bundle):
    pushed(bundle)
    _, header, text = hub.files["README.md"].decode().split("---\n", 2)
    facts = yaml.safe_load(header)
    assert facts["library_name"] == "monai"
    assert facts["license"] == "apache-2.0"
    assert {"monai", "medical"} <= set(facts["tags"])
    assert text.strip() == (bundle / "docs" / "README.md").read_text().strip()


def test_without_a_version_there_is_no_tag(hub, bundle):
    pushed(bundle)
    assert hub.tags == {}


def test_a_hub_that_does_not_know_the_token_gets_nothing(hub, bundle):
    with pytest.raises(huggingface_hub.errors.HfHubHTTPError, match="401"):
        push_to_hf_hub(REPO, NAME, str(bundle.parent), token="hf_wrong")
    assert hub.files == {}


def test_what_another_lab_downloads_is_what_was_pushed(hub, bundle, tmp_path):
    pushed(bundle, version="0.1.0", tag_as_latest_version=True)
    download(NAME, bundle_dir=str(tmp_path / "lab_b"), source="huggingface_hub", repo=REPO, progress=False)
    home = tmp_path / "lab_b" / NAME
    for name, content in hub.files.items():
        assert (home / name).read_bytes() == content
    weights = load_file(home / "models" / "model.safetensors")
    network = json.loads((home / "configs" / "inference.json").read_text())["network_def"]
    network.pop("_target_")
    resnet10(**network).load_state_dict(weights)
