import subprocess
import sys

import pytest
from cryptography.hazmat.primitives import serialization as forms
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from kdmri_monai.sharing.signature import PASSWORD, SignatureError, sign, verify

MANIFEST = b'{"format": "kdmri-manifest-1"}\n'
PUBLIC = {
    "pem": (forms.Encoding.PEM, forms.PublicFormat.SubjectPublicKeyInfo),
    "ssh": (forms.Encoding.OpenSSH, forms.PublicFormat.OpenSSH),
}
PRIVATE = {"pem": forms.PrivateFormat.PKCS8, "ssh": forms.PrivateFormat.OpenSSH}


def write_keys(folder, form="pem", password=None, key=None):
    key = key or Ed25519PrivateKey.generate()
    hidden = forms.BestAvailableEncryption(password) if password else forms.NoEncryption()
    private, public = folder / "lab.key", folder / "lab.pub"
    private.write_bytes(key.private_bytes(forms.Encoding.PEM, PRIVATE[form], hidden))
    public.write_bytes(key.public_key().public_bytes(*PUBLIC[form]))
    return private, public


@pytest.mark.parametrize("form", ["pem", "ssh"])
def test_what_was_signed_is_recognised_and_signed_alike_again(tmp_path, form):
    private, public = write_keys(tmp_path, form)
    signature = sign(MANIFEST, private)
    verify(MANIFEST, signature, public)
    assert signature == sign(MANIFEST, private)


def test_a_changed_manifest_is_told(tmp_path):
    private, public = write_keys(tmp_path)
    with pytest.raises(SignatureError, match="changed"):
        verify(MANIFEST + b" ", sign(MANIFEST, private), public)


def test_another_key_is_told(tmp_path):
    private, _ = write_keys(tmp_path)
    (tmp_path / "other").mkdir()
    _, public = write_keys(tmp_path / "other")
    with pytest.raises(SignatureError, match="not that of"):
        verify(MANIFEST, sign(MANIFEST, private), public)


@pytest.mark.parametrize("signature", [b"", b"no base64!", b"YWJj"])
def test_what_is_no_signature_is_told(tmp_path, signature):
    _, public = write_keys(tmp_path)
    with pytest.raises(SignatureError):
        verify(MANIFEST, signature, public)


def test_a_pass_phrase_comes_from_the_environment(tmp_path, monkeypatch):
    private, public = write_keys(tmp_path, password=b"open sesame")
    with pytest.raises(SignatureError, match=PASSWORD):
        sign(MANIFEST, private)
    monkeypatch.setenv(PASSWORD, "open sesame")
    verify(MANIFEST, sign(MANIFEST, private), public)


def test_keys_of_another_kind_are_refused(tmp_path):
    private, public = write_keys(tmp_path, key=rsa.generate_private_key(65537, 2048))
    with pytest.raises(SignatureError, match="another kind"):
        sign(MANIFEST, private)
    with pytest.raises(SignatureError, match="another kind"):
        verify(MANIFEST, b"", public)


def test_a_private_key_in_place_of_the_public_one_is_refused(tmp_path):
    private, _ = write_keys(tmp_path)
    with pytest.raises(SignatureError, match="private key"):
        verify(MANIFEST, sign(MANIFEST, private), private)


def test_files_that_are_no_keys_are_refused(tmp_path):
    (tmp_path / "key").write_bytes(b"hello")
    with pytest.raises(SignatureError, match="cannot be read"):
        sign(MANIFEST, tmp_path / "key")
    with pytest.raises(FileNotFoundError, match="nowhere"):
        sign(MANIFEST, tmp_path / "nowhere")


def test_the_module_says_what_is_missing_without_the_library(tmp_path):
    write_keys(tmp_path)
    script = (
        "import sys; sys.modules['cryptography'] = None\n"
        "from pathlib import Path; from kdmri_monai.sharing.signature import SignatureError, sign\n"
        "try: sign(b'', Path(sys.argv[1]))\n"
        "except SignatureError as error: sys.exit('pip install' not in str(error))\n"
    )
    assert subprocess.run([sys.executable, "-c", script, str(tmp_path / "lab.key")], check=False).returncode == 0
