"""Signature of a manifest: Ed25519, keys of the user's own.

A key comes from OpenSSL or OpenSSH, without a pass phrase or with one that ``KDMRI_KEY_PASSWORD`` holds:

    openssl genpkey -algorithm ed25519 -out lab.key && openssl pkey -in lab.key -pubout -out lab.pub
    ssh-keygen -t ed25519 -f lab

Source: RFC 8032. The library is ``cryptography``.
"""

import base64
import binascii
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

PASSWORD = "KDMRI_KEY_PASSWORD"
"""Environment variable with the pass phrase of a private key."""

_LARGEST = 1 << 16


class SignatureError(ValueError):
    """A key that cannot be used, or a signature that does not fit."""


def sign(manifest: bytes, key: Path) -> bytes:
    """Sign a manifest.

    Args:
        manifest: Bytes of ``manifest.json``.
        key: Private Ed25519 key, PEM or OpenSSH.

    Returns:
        The signature in base64, a newline at the end; the same every time.

    Raises:
        FileNotFoundError: There is no such key.
        SignatureError: No Ed25519 private key, a wrong pass phrase, or ``cryptography`` is not installed.
    """
    return base64.b64encode(_private_key(key).sign(manifest)) + b"\n"


def verify(manifest: bytes, signature: bytes, key: Path) -> None:
    """Check the signature of a manifest.

    Args:
        manifest: Bytes of ``manifest.json``.
        signature: From ``sign``.
        key: Public Ed25519 key, PEM or OpenSSH.

    Raises:
        FileNotFoundError: There is no such key.
        SignatureError: The manifest was signed by another key, or changed since; or the key cannot be used.
    """
    public = _public_key(key)
    from cryptography.exceptions import InvalidSignature

    try:
        raw = base64.b64decode(signature.strip(), validate=True)
        public.verify(raw, manifest)
    except (binascii.Error, ValueError) as error:
        raise SignatureError("the signature is not base64") from error
    except InvalidSignature as error:
        raise SignatureError(f"the signature is not that of {key}, or the manifest was changed after it") from error


def _private_key(path: Path) -> "Ed25519PrivateKey":
    content, library = _read(path), _library()
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    password = os.environ.get(PASSWORD, "").encode() or None
    openssh = b"BEGIN OPENSSH" in content
    load = library.load_ssh_private_key if openssh else library.load_pem_private_key
    key = _loaded(lambda: load(content, password), path, "private")
    if not isinstance(key, Ed25519PrivateKey):
        raise SignatureError(f"{path} is a private key of another kind, Ed25519 is expected")
    return key


def _public_key(path: Path) -> "Ed25519PublicKey":
    content, library = _read(path), _library()
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    if b"PRIVATE KEY" in content:
        raise SignatureError(f"{path} is a private key, the public one is expected")
    load = library.load_pem_public_key if content.lstrip().startswith(b"-----") else library.load_ssh_public_key
    key = _loaded(lambda: load(content), path, "public")
    if not isinstance(key, Ed25519PublicKey):
        raise SignatureError(f"{path} is a public key of another kind, Ed25519 is expected")
    return key


def _read(path: Path) -> bytes:
    if not path.is_file():
        raise FileNotFoundError(f"there is no key {path}")
    with path.open("rb") as file:
        content = file.read(_LARGEST + 1)
    if len(content) > _LARGEST:
        raise SignatureError(f"{path} is too large for a key")
    return content


def _loaded(load: Any, path: Path, kind: str) -> Any:
    from cryptography.exceptions import UnsupportedAlgorithm

    try:
        return load()
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        words = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise SignatureError(f"{path} cannot be read as a {kind} key, or wants {PASSWORD}: {words}") from error


def _library() -> Any:
    try:
        from cryptography.hazmat.primitives import serialization
    except ImportError as error:
        raise SignatureError("signatures want cryptography: pip install 'kdmri-monai[sharing]'") from error
    return serialization
