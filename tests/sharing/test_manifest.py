import hashlib
import json

import pytest

from kdmri_monai.sharing.manifest import ManifestError, build_manifest, check_manifest, read_manifest

FILES = {"LICENSE": b"text", "configs/inference.json": b"{}", "models/model.pt": bytes(range(256))}


def test_a_manifest_lists_every_file_but_itself_and_its_signature():
    content = build_manifest("student", {**FILES, "manifest.json": b"old", "manifest.sig": b"old"})
    tree = json.loads(content)
    assert tree["name"] == "student"
    assert set(tree["files"]) == set(FILES)
    for name, data in FILES.items():
        assert tree["files"][name] == {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}


def test_the_order_of_the_files_does_not_change_the_bytes():
    assert build_manifest("a", FILES) == build_manifest("a", dict(reversed(FILES.items())))


def test_a_bundle_as_it_was_packed_passes():
    assert check_manifest(build_manifest("a", FILES), FILES)


@pytest.mark.parametrize(
    ("files", "kind", "name"),
    [
        ({k: v for k, v in FILES.items() if k != "LICENSE"}, "missing", "LICENSE"),
        ({**FILES, "scripts/run.py": b""}, "extra", "scripts/run.py"),
        ({**FILES, "LICENSE": b"Text"}, "changed", "LICENSE"),
    ],
)
def test_every_difference_is_named(files, kind, name):
    check = check_manifest(build_manifest("a", FILES), files)
    assert not check
    assert {part: getattr(check, part) for part in ("missing", "extra", "changed")} == {
        **dict.fromkeys(("missing", "extra", "changed"), ()),
        kind: (name,),
    }


@pytest.mark.parametrize(
    "content",
    [
        b"\xff",
        b"[]",
        b'{"format": "other", "files": {}}',
        b'{"format": "kdmri-manifest-1", "files": []}',
        b'{"format": "kdmri-manifest-1", "files": {"a": {"sha256": "ab", "bytes": 1}}}',
        b'{"format": "kdmri-manifest-1", "files": {"a": {"bytes": 1}}}',
        b"[" * 100_000,
    ],
)
def test_what_is_no_manifest_is_refused(content):
    with pytest.raises(ManifestError, match=r"manifest\.json"):
        read_manifest(content)
