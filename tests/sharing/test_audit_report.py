"""The report as a whole: manifest, signature, licence, metadata, the command and its exit status."""

import json

import pytest
from typer.testing import CliRunner

import kdmri_monai.cli.audit
from kdmri_monai.cli.application import app
from kdmri_monai.sharing.audit import audit
from kdmri_monai.sharing.audit_bundle_files import licence_name
from kdmri_monai.sharing.audit_findings import DANGER, LEVELS
from kdmri_monai.sharing.manifest import build_manifest
from kdmri_monai.sharing.safe_archive import folder_files

assert kdmri_monai.cli.audit  # registers the command


def seal(bundle):
    files = {name: path.read_bytes() for name, path in folder_files(bundle).items() if "manifest" not in name}
    (bundle / "manifest.json").write_bytes(build_manifest("student", files))
    return bundle


def group(report, name):
    return [(finding.level, finding.file, finding.reason) for finding in report.findings if finding.group == name]


def keys(folder):
    forms = pytest.importorskip("cryptography.hazmat.primitives.serialization")
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    key = Ed25519PrivateKey.generate()
    folder.mkdir()
    private, public = folder / "lab.key", folder / "lab.pub"
    private.write_bytes(key.private_bytes(forms.Encoding.PEM, forms.PrivateFormat.PKCS8, forms.NoEncryption()))
    public.write_bytes(key.public_key().public_bytes(forms.Encoding.PEM, forms.PublicFormat.SubjectPublicKeyInfo))
    return private, public


def invoke(*arguments):
    return CliRunner().invoke(app, ["audit", *map(str, arguments)])


def test_a_bundle_that_is_as_its_manifest_says_is_told_so(stock_bundle):
    report = audit(seal(stock_bundle))
    assert report.safe
    assert [level for level, *_ in group(report, "manifest")] == ["ok"]


@pytest.mark.parametrize(
    ("spoil", "word"),
    [
        (lambda bundle: (bundle / "LICENSE").unlink(), "missing"),
        (lambda bundle: (bundle / "docs/more.md").write_text("more"), "not listed"),
        (lambda bundle: (bundle / "LICENSE").write_text("other"), "changed"),
        (lambda bundle: (bundle / "manifest.json").write_text("{}"), "not of the form"),
    ],
)
def test_every_difference_from_the_manifest_makes_it_unsafe(spoil, word, stock_bundle):
    spoil(seal(stock_bundle))
    report = audit(stock_bundle)
    assert not report.safe
    assert report.running == 0
    assert any(level == DANGER and word in reason for level, _, reason in group(report, "manifest"))


def test_a_bundle_without_manifest_is_only_remarked_on(stock_bundle):
    assert [level for level, *_ in group(audit(stock_bundle), "manifest")] == ["remark"]


def test_a_signature_is_good_missing_or_anothers(stock_bundle, tmp_path):
    from kdmri_monai.sharing.signature import sign

    private, public = keys(tmp_path / "lab")
    _, stranger = keys(tmp_path / "stranger")
    seal(stock_bundle)
    assert not audit(stock_bundle, public).safe
    (stock_bundle / "manifest.sig").write_bytes(sign((stock_bundle / "manifest.json").read_bytes(), private))
    assert audit(stock_bundle, public).safe
    assert not audit(stock_bundle, stranger).safe
    assert group(audit(stock_bundle), "signature")[0][0] == "warning"


def test_a_signature_over_changed_files_does_not_help(stock_bundle, tmp_path):
    from kdmri_monai.sharing.signature import sign

    private, public = keys(tmp_path / "lab")
    seal(stock_bundle)
    (stock_bundle / "manifest.sig").write_bytes(sign((stock_bundle / "manifest.json").read_bytes(), private))
    (stock_bundle / "configs/inference.json").write_text("{}")
    assert not audit(stock_bundle, public).safe


def test_a_key_without_manifest_is_not_safe(stock_bundle, tmp_path):
    _, public = keys(tmp_path / "lab")
    assert not audit(stock_bundle, public).safe


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda data: data.pop("task"), "has no task"),
        (lambda data: data.update(version="latest"), "not a version"),
        (lambda data: data.pop("eval_metrics"), "no figures"),
        (lambda data: data["network_data_format"]["outputs"]["pred"].update(num_channels=3), "2 of them defined"),
        (lambda data: data["network_data_format"]["outputs"]["pred"].pop("dtype"), "lacks dtype"),
        (
            lambda data: data["network_data_format"]["outputs"]["pred"].update(channel_def={"0": "a", "1": "b"}),
            "names the classes",
        ),
        (
            lambda data: data["network_data_format"]["outputs"]["pred"].update(
                num_channels=3, channel_def={"0": "a", "1": "b", "2": "c"}
            ),
            "network_def 2 (out_channels)",
        ),
    ],
)
def test_metadata_that_do_not_fit_are_told(change, words, stock_bundle):
    path = stock_bundle / "configs/metadata.json"
    data = json.loads(path.read_text())
    change(data)
    path.write_text(json.dumps(data))
    report = audit(stock_bundle)
    assert report.safe
    assert any(words in reason for _, _, reason in group(report, "metadata"))


def test_a_file_that_a_configuration_names_and_that_is_not_there_is_told(stock_bundle):
    path = stock_bundle / "configs/inference.json"
    path.write_text(path.read_text().replace("/models/model.pt", "/models/other.pt"))
    assert any("models/other.pt" in reason for _, _, reason in group(audit(stock_bundle), "metadata"))


def test_metadata_that_fit_are_told_so(stock_bundle):
    assert [level for level, *_ in group(audit(stock_bundle), "metadata")] == ["ok"]


def test_licences_are_recognised_by_their_words(stock_bundle):
    report = audit(stock_bundle)
    assert {finding.text for finding in report.findings if finding.group == "licence"} == {"Apache-2.0", "CC-BY-4.0"}
    assert licence_name("Permission is hereby granted, free of charge, to any person obtaining a copy") == "MIT"
    assert licence_name("All rights reserved") is None


def test_the_command_says_safe_and_ends_with_zero(stock_bundle):
    result = invoke(stock_bundle)
    assert result.exit_code == 0
    assert "safe to run" in result.output.splitlines()[-1]


def test_the_command_counts_the_places_and_ends_with_one(configure):
    bundle = configure({"x": "$__import__('os')", "y": {"_target_": "os.system"}})
    result = invoke(bundle)
    assert result.exit_code == 1
    assert "NOT safe" in result.output
    assert "in 2 places" in result.output


def test_text_of_a_bundle_cannot_write_to_the_terminal(configure):
    result = invoke(configure({"x": "$os.system('\x1b]0;title\x07[red]')", "\x1b[2J[bold]": "$open('\u202e')"}))
    assert result.exit_code == 1
    assert not {"\x1b", "\x07", "\u202e"} & set(result.output)


def test_the_command_ends_with_two_where_nothing_can_be_read(tmp_path):
    (tmp_path / "a.zip").write_bytes(b"hello")
    assert invoke(tmp_path / "a.zip").exit_code == 2
    assert invoke(tmp_path / "nowhere.zip").exit_code == 2
    assert invoke(tmp_path).exit_code == 0  # an empty folder runs nothing; that it is no bundle is remarked on


def test_the_json_report_keeps_its_form(configure):
    result = invoke(configure({"x": "$open('a')"}), "--json")
    report = json.loads(result.stdout)
    assert result.exit_code == 1
    assert report["format"] == "kdmri-audit-1"
    assert report["safe"] is False
    assert set(report) == {"format", "bundle", "safe", "counts", "findings"}
    assert set(report["counts"]) == set(LEVELS)
    assert sum(report["counts"].values()) == len(report["findings"])
    assert {frozenset(finding) for finding in report["findings"]} == {
        frozenset(("level", "group", "file", "id", "text", "verdict", "reason"))
    }
    first = report["findings"][0]
    assert (first["level"], first["id"], first["verdict"]) == (DANGER, "x", "can run arbitrary code")
