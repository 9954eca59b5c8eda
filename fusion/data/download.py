"""Download of one file, continued where it broke off, and used only once its MD5 sum is right.

The bytes go to `<path>.part`; a further attempt, in this run or a later one, asks for the rest with an HTTP range
request (RFC 9110, section 14, https://www.rfc-editor.org/rfc/rfc9110#section-14). The final name appears only with
the whole, verified file. MD5 guards against a damaged or mistaken file, being the sum that the publishers of these
data sets give. It does not protect against forgery, and so nothing here ever runs or unpickles what was downloaded.

urllib rather than requests: requests undoes a `Content-Encoding: gzip`, with which some servers label a .tar.gz.
"""

from __future__ import annotations

import hashlib
import http.client
import logging
import os
import re
import sys
import time
import urllib.error
import urllib.request
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, Iterator
from urllib.parse import urlsplit

from ..errors import DataError
from ..progress import Counter, progress

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

logger = logging.getLogger(__name__)

CHUNK = 1 << 18  # bytes that are read at a time
LOCK_POLL = 0.2  # seconds between two tries to get the lock that another process holds
TRY_AGAIN = frozenset({408, 425, 429, 500, 502, 503, 504})  # HTTP statuses that may go away


class _TransferError(Exception):
    """A transfer that failed but may succeed when tried again."""


def download(
    url: str,
    path: str | os.PathLike[str],
    md5: str,
    *,
    retries: int = 4,
    backoff: float = 1.0,
    timeout: float = 30.0,
    wait: float = 3600.0,
) -> Path:
    """Download a file over HTTP, continuing what an earlier attempt left, and verify it.

    Two processes may ask for the same file at once: the second waits for the first and then uses its file.

    Parameters
    ----------
    url : str
        An http or https address.
    path : path-like
        Where the file goes. A file that is there already is only verified.
    md5 : str
        The MD5 sum that the whole file must have, 32 hexadecimal digits.
    retries : int, default 4
        How often to try again after a connection that failed, broke off or fell silent.
    backoff : float, default 1.0
        Seconds before the first new attempt; each further one waits twice as long.
    timeout : float, default 30.0
        Seconds without a byte after which a connection counts as broken.
    wait : float, default 3600.0
        Seconds to wait for another process that is downloading the same file.

    Returns
    -------
    pathlib.Path
        `path`, where the verified file now is.

    Raises
    ------
    DataError
        If the address is no http address, the server is unreachable or has no such file, the sum is wrong (what was
        fetched is removed, a file that was there before is not), or the folder cannot be written.
    """
    path = Path(path)
    if urlsplit(url).scheme not in ("http", "https"):
        raise DataError(f"cannot download {url!r}; expected an http:// or https:// address")
    if not path.exists():
        part = Path(f"{path}.part")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with _exclusive(Path(f"{path}.lock"), wait):
                if not path.exists():  # else the process that held the lock has just finished it
                    _fetch(url, part, path, retries, backoff, timeout)
                    _verify_part(part, md5, url)
                    _finish(part, path)
        except OSError as error:
            raise DataError(f"cannot write {path}: {error}; make room or give another folder as data.dir") from error
    verify(path, md5)
    return path


def verify(path: str | os.PathLike[str], md5: str) -> None:
    """Compare a file with its published MD5 sum.

    Parameters
    ----------
    path : path-like
        The file.
    md5 : str
        The sum it must have, 32 hexadecimal digits.

    Raises
    ------
    DataError
        If the sum differs; the message names both.
    """
    found = md5_of(path)
    if found != md5.lower():
        raise DataError(
            f"{path} is damaged or another file: its MD5 sum is {found}, expected {md5}; "
            f"remove it so that it can be downloaded again, or put the right file in its place"
        )


def md5_of(path: str | os.PathLike[str]) -> str:
    """MD5 sum of a file, as 32 lower-case hexadecimal digits.

    Parameters
    ----------
    path : path-like
        The file, of any size: it is read in pieces.

    Returns
    -------
    str
        The sum.
    """
    digest = hashlib.md5()
    with Path(path).open("rb") as handle:
        for block in iter(lambda: handle.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()


def _finish(part: Path, path: Path) -> None:
    """Give a whole, verified file its name, once its content is on the disk."""
    with part.open("rb+") as handle:
        os.fsync(handle.fileno())
    part.replace(path)


def _verify_part(part: Path, md5: str, url: str) -> None:
    found = md5_of(part)
    if found != md5.lower():
        part.unlink()  # continuing it could never lead to the right file
        raise DataError(
            f"{url} gave a file whose MD5 sum is {found}, expected {md5}; it was removed: "
            f"try again, or give another address as data.url"
        )


def _fetch(url: str, part: Path, path: Path, retries: int, backoff: float, timeout: float) -> None:
    """Fill `part`, in as many attempts as allowed."""
    for attempt in range(retries + 1):
        try:
            _attempt(url, part, timeout)
            return
        except _TransferError as error:
            if attempt == retries:
                raise DataError(
                    f"cannot download {url}: {error} ({retries + 1} attempts); give another address as data.url, "
                    f"or fetch the file by hand and put it at {path}"
                ) from error
            pause = backoff * 2**attempt
            logger.warning("%s: %s; trying again in %.0f s", url, error, pause)
            time.sleep(pause)
        except urllib.error.HTTPError as error:
            error.close()
            raise DataError(
                f"cannot download {url}: the server answers {error.code} {error.reason}; give another address as "
                f"data.url, or fetch the file by hand and put it at {path}"
            ) from error


def _attempt(url: str, part: Path, timeout: float) -> None:
    """One request: for the rest where there is a part, for the whole otherwise.

    Raises `_TransferError` for what may pass, `urllib.error.HTTPError` for a definite refusal.
    """
    held = part.stat().st_size if part.exists() else 0
    headers = {"User-Agent": "fusion", "Accept-Encoding": "identity"}
    if held:
        headers["Range"] = f"bytes={held}-"
    try:
        response = urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=timeout)
    except urllib.error.HTTPError as error:
        if error.code == 416 and held:
            _settle_unsatisfiable(error, part, held)
            return
        if error.code in TRY_AGAIN:
            error.close()
            raise _TransferError(f"the server answers {error.code} {error.reason}") from error
        raise
    except (OSError, http.client.HTTPException) as error:  # URLError, refused, timed out, no such host
        raise _TransferError(f"no connection: {getattr(error, 'reason', error)}") from error
    with response:
        _receive(response, part, _resume_point(response, part, held))


def _settle_unsatisfiable(error: urllib.error.HTTPError, part: Path, held: int) -> None:
    """Status 416, nothing after the bytes held: either the part is the whole file, or it belongs to another file."""
    error.close()
    total = re.fullmatch(r"bytes \*/(\d+)", error.headers.get("Content-Range", ""))
    if total is None or int(total.group(1)) != held:
        part.unlink()
        raise _TransferError(f"the server has no byte {held} to continue from; starting over")


def _resume_point(response: http.client.HTTPResponse, part: Path, held: int) -> int:
    """Where in the part the body of this answer belongs: a server may ignore the range and send the whole."""
    if response.status != 206:
        return 0
    content_range = response.headers.get("Content-Range", "")
    if not content_range.startswith(f"bytes {held}-"):
        part.unlink(missing_ok=True)
        raise _TransferError(f"the server sent {content_range or 'no range'} instead of what follows byte {held}")
    return held


def _receive(response: http.client.HTTPResponse, part: Path, start: int) -> None:
    """Append the body to the first `start` bytes of the part; raise `_TransferError` where it ends too soon."""
    length = response.headers.get("Content-Length")
    total = start + int(length) if length and length.isdigit() else None
    with part.open("ab") as handle:
        handle.truncate(start)
        with progress(part.stem, total, unit="B", done=start) as meter:
            received = start + _copy(response, handle, meter)
    if total is not None and received != total:
        raise _TransferError(f"the connection broke off after {received:,} of {total:,} bytes")


def _copy(response: http.client.HTTPResponse, handle: BinaryIO, meter: Counter) -> int:
    """Write the body as it arrives, and count its bytes; only an error of the disk stays an OSError."""
    count = 0
    while True:
        try:
            block = response.read(CHUNK)
        except (OSError, http.client.HTTPException) as error:
            raise _TransferError(f"the connection broke off: {error or type(error).__name__}") from error
        if not block:
            return count
        handle.write(block)
        count += len(block)
        meter.update(len(block))


@contextmanager
def _exclusive(lock: Path, wait: float) -> Iterator[None]:
    """Hold a lock file, waiting for another process that has it.

    The operating system holds the lock for the process, so that a killed one leaves no lock behind.
    """
    deadline = time.monotonic() + wait
    announced = False
    handle = lock.open("ab")
    while not (_try_lock(handle) and _names(lock, handle)):
        handle.close()
        if time.monotonic() >= deadline:
            raise DataError(f"another process has held {lock} for {wait:.0f} s; wait until its download is done")
        if not announced:
            logger.info("%s: another process is downloading, waiting for it", lock.with_suffix(""))
            announced = True
        time.sleep(LOCK_POLL)
        handle = lock.open("ab")
    try:
        yield
    finally:
        with suppress(
            OSError
        ):  # while it is still held, or it could be the next holder's; Windows cannot remove an open file
            lock.unlink()
        handle.close()


if sys.platform == "win32":

    def _try_lock(handle: BinaryIO) -> bool:
        try:
            handle.seek(0)
            msvcrt.locking(handle.fileno(), msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True

else:

    def _try_lock(handle: BinaryIO) -> bool:
        try:
            fcntl.flock(handle.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True


def _names(lock: Path, handle: BinaryIO) -> bool:
    """Whether the locked file still has its name: the last holder removes it."""
    try:
        return os.path.samestat(os.fstat(handle.fileno()), lock.stat())
    except FileNotFoundError:
        return False
