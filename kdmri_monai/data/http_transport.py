"""One HTTP request: http and https only, and what may be tried again told apart from what may not."""

import email.utils
import http.client
import ssl
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import IO, Any, cast
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit

from kdmri_monai.data.errors import FetchError

CHUNK = 2**18
_LONGEST_WAIT = 120.0  # seconds that a server may ask for
_PASSING = frozenset({408, 425, 429, 500, 502, 503, 504})
_AGENT = "kdmri-monai (+https://doi.org/10.6084/m9.figshare.1512427)"


class UnavailableError(Exception):
    """The request may succeed a little later.

    Args:
        reason: What happened.
        wait: Seconds that the server asks to wait, or ``None``.
    """

    def __init__(self, reason: str, wait: float | None = None) -> None:
        super().__init__(reason)
        self.wait = wait


class RefusedError(FetchError):
    """The server does not hand the file to programs at this address; another address may do."""


class RangeRefusedError(Exception):
    """The server has no bytes at the place that was asked for (416)."""


def check_url(url: object, secure: bool = False) -> str:
    """Refuses what is not the address of a web server.

    Args:
        url: Address to check.
        secure: Whether plain http is refused as well.

    Returns:
        The address.

    Raises:
        FetchError: Another scheme, or no host.
    """
    allowed = ("https",) if secure else ("https", "http")
    try:
        if isinstance(url, str) and urlsplit(url).scheme in allowed and urlsplit(url).hostname:
            return url
    except ValueError as error:
        raise FetchError(f"{url!r} is no address: {error}") from error
    raise FetchError(f"{url!r} is no address that files are fetched from, allowed are {' and '.join(allowed)}")


class _SameSecurity(urllib.request.HTTPRedirectHandler):
    """Redirects within http and https, never from https to http."""

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: Any, newurl: str
    ) -> urllib.request.Request | None:
        check_url(newurl, secure=req.type == "https")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _opener() -> urllib.request.OpenerDirector:
    """Like ``build_opener``, without its handlers of ``file:``, ``ftp:`` and ``data:``."""
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(),
        urllib.request.HTTPHandler(),
        urllib.request.HTTPSHandler(),
        urllib.request.UnknownHandler(),
        urllib.request.HTTPDefaultErrorHandler(),
        _SameSecurity(),
        urllib.request.HTTPErrorProcessor(),
    ):
        opener.add_handler(handler)
    return opener


@contextmanager
def answer(url: str, headers: Mapping[str, str], timeout: float) -> Iterator[http.client.HTTPResponse]:
    """The answer to a GET request, status 200 or 206; redirects are followed.

    Args:
        url: Address.
        headers: Further header fields of the request.
        timeout: Seconds without any byte after which the server counts as silent.

    Yields:
        The response, its body unread.

    Raises:
        FetchError: The address is not of the web, or the server answers with an error that stays.
        RangeRefusedError: The server answers 416.
        RefusedError: The server answers 403, or 202, which is how Figshare asks programs for a proof that they are
            browsers.
        UnavailableError: No connection, silence, or an error that passes (408, 429, 5xx).
    """
    sent = {"User-Agent": _AGENT, "Accept-Encoding": "identity", **headers}
    request = urllib.request.Request(check_url(url), headers=sent)
    try:
        response = cast("http.client.HTTPResponse", _opener().open(request, timeout=timeout))
    except HTTPError as error:
        error.close()
        raise _of_status(url, error) from None
    except (OSError, http.client.HTTPException) as error:
        reason = error.reason if isinstance(error, URLError) else error
        if isinstance(reason, ssl.SSLCertVerificationError):
            raise FetchError(f"{url}: {reason}") from error
        raise UnavailableError(f"{url}: {reason or type(reason).__name__}") from error
    with response:
        if response.status not in (200, 206):
            raise RefusedError(f"{url}: the server answers {response.status} {response.reason} and no file")
        if response.headers.get("Content-Encoding", "identity") != "identity":
            raise FetchError(f"{url}: the server packs the file ({response.headers['Content-Encoding']}) unasked")
        yield response


def chunks(response: http.client.HTTPResponse, most: int) -> Iterator[bytes]:
    """Body of a response, piece by piece.

    Args:
        response: From ``answer``.
        most: Bytes after which reading stops.

    Yields:
        Pieces of at most ``CHUNK`` bytes; fewer than ``most`` in sum where the connection ends early.

    Raises:
        UnavailableError: The connection breaks.
    """
    while most > 0:
        try:
            piece = response.read1(min(CHUNK, most))
        except (OSError, http.client.HTTPException) as error:
            raise UnavailableError(f"the connection broke: {error or type(error).__name__}") from error
        if not piece:
            return
        most -= len(piece)
        yield piece


def _of_status(url: str, error: HTTPError) -> Exception:
    told = f"{url}: the server answers {error.code} {error.reason}"
    if error.code == 416:
        return RangeRefusedError(told)
    if error.code == 403:
        return RefusedError(told)
    if error.code in _PASSING:
        return UnavailableError(told, _wait(error.headers.get("Retry-After")))
    return FetchError(told)


def _wait(retry_after: str | None) -> float | None:
    """Seconds of a Retry-After field, which holds seconds or a date (RFC 9110, 10.2.3)."""
    if retry_after is None:
        return None
    if retry_after.strip().isdigit():
        return min(float(retry_after), _LONGEST_WAIT)
    try:
        until = email.utils.parsedate_to_datetime(retry_after).timestamp()
    except ValueError:
        return None
    return min(max(until - time.time(), 0.0), _LONGEST_WAIT)
