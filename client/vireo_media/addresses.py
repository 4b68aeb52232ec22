# SPDX-License-Identifier: MIT
"""Inputs and outputs that are addresses (http, https, s3) instead of paths; fsspec moves the bytes.

# Note [Why the library and not FFmpeg's own protocols]
FFmpeg would follow what a playlist or a movie file names, on any protocol it knows. So its demuxers stay confined to
local files (see `container`), and an address is a seekable file object, read in blocks by range requests.
"""

import contextlib
import glob
import hashlib
import io
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, cast
from urllib.parse import urlsplit

from vireo_media.errors import InputError, InputMissingError, OutputError, OutputExistsError, VireoError

__all__ = ["check_target", "display_name", "is_address", "open_address", "staging_path", "upload"]

_SCHEMES = ("http", "https", "s3")
_BLOCK = 1 << 20
_EXTRAS = {"s3": "s3", "http": "addresses", "https": "addresses"}


def is_address(source: object) -> bool:
    """Whether a string is an address of one of the schemes that are allowed."""
    return isinstance(source, str) and source.partition("://")[0].lower() in _SCHEMES and "://" in source


def display_name(address: str) -> str:
    """The address for messages and logs: a signature or a password in it is nobody's business."""
    parts = urlsplit(address)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def open_address(address: str) -> BinaryIO:
    """A seekable reader of what lies at `address`. Raises InputError, InputMissingError."""
    name = display_name(address)
    with _address_errors(name, InputError, InputMissingError):
        system, path = _system(address)
        file = cast(BinaryIO, system.open(path, "rb", block_size=_BLOCK))
        if not file.seekable() or getattr(file, "size", None) is None:
            file.close()
            raise InputError(
                f"input {name!r}: its server does not say how long it is or gives no ranges of it; allowed are servers "
                "that answer range requests; fetch it to a file first"
            )
        return cast(BinaryIO, _AddressReader(file, name))


class _AddressReader(io.RawIOBase):
    """A remote file whose errors are ours, though it is libav that reads it."""

    def __init__(self, file: BinaryIO, name: str) -> None:
        super().__init__()
        self._file, self._name = file, name

    def read(self, size: int = -1) -> bytes:
        """The next `size` bytes, fewer at the end."""
        with _address_errors(self._name, InputError, InputMissingError):
            return self._file.read(size)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Go to another place."""
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        """The place."""
        return self._file.tell()

    def readable(self) -> bool:
        """Always."""
        return True

    def seekable(self) -> bool:
        """Always: what is not was refused."""
        return True

    def close(self) -> None:
        """Let go of the connection."""
        self._file.close()
        super().close()


def check_target(address: str, *, overwrite: bool) -> None:
    """Refuse an address that could not be written, before any work. Raises OutputError, OutputExistsError."""
    name = display_name(address)
    if not Path(urlsplit(address).path).name:
        raise OutputError(f"output {name!r} names no file; allowed is an address that ends in one, such as .../out.mp4")
    with _address_errors(name, OutputError, OutputError):
        system, path = _system(address)
        if urlsplit(address).scheme.lower() == "s3":
            _check_bucket(system, urlsplit(address).netloc, name)
        if not overwrite and system.exists(path):
            raise OutputExistsError(
                f"output {name!r} is there already; nothing was done; choose another name, or allow it (--overwrite)"
            )


def _check_bucket(system: Any, bucket: str, name: str) -> None:
    try:
        system.info(f"s3://{bucket}")
    except FileNotFoundError as error:
        raise OutputError(
            f"output {name!r}: there is no bucket {bucket!r}; check the address, or make the bucket"
        ) from error
    except PermissionError:
        return  # Who may write need not be allowed to look.


def staging_path(address: str) -> Path:
    """Where the result for `address` is made before it is sent: the same for every run, so that a run can go on where
    one before it ended.
    """
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    parts = urlsplit(address)
    key = hashlib.sha256(f"{parts.scheme}://{parts.netloc}{parts.path}".encode()).hexdigest()[:16]
    folder = cache / "vireo" / key
    folder.mkdir(parents=True, exist_ok=True)
    return folder / Path(parts.path).name


def upload(staged: Path, address: str) -> None:
    """Send the result, and what belongs to it (HLS fragments) before it; then the local copies go. Raises OutputError.

    http and https: one PUT a file. An object store shows a file only when it is whole.
    """
    parts = urlsplit(address)
    fragments = sorted(staged.parent.glob(f"{glob.escape(staged.stem)}_*")) if staged.suffix == ".m3u8" else []
    for path in (*fragments, staged):
        target = address if path == staged else parts._replace(path=str(Path(parts.path).with_name(path.name))).geturl()
        with _address_errors(display_name(target), OutputError, OutputError):
            system, remote = _system(target)
            system.put_file(str(path), remote, **({"method": "put"} if parts.scheme in ("http", "https") else {}))
    shutil.rmtree(staged.parent)


def _system(address: str) -> tuple[Any, str]:
    """fsspec's file system for an address, and the path in it. Listings are never cached: files come and go."""
    import fsspec  # type: ignore[import-untyped]

    scheme = urlsplit(address).scheme.lower()
    system = fsspec.filesystem(scheme, use_listings_cache=False)
    return system, address


@contextlib.contextmanager
def _address_errors(name: str, kind: type[VireoError], missing: type[VireoError]) -> Iterator[None]:
    """The one place where the errors of fsspec and of what it uses become ours."""
    what = "input" if issubclass(kind, InputError) else "output"
    try:
        yield
    except VireoError:
        raise
    except ImportError as error:
        pip = f"pip install 'vireo[{_EXTRAS[urlsplit(name).scheme]}]'"
        raise kind(f"{what} {name!r}: a package for it is not installed ({error}); install it: {pip}") from error
    except FileNotFoundError as error:
        raise missing(f"{what} {name!r}: there is no such file; check the address") from error
    except _foreign() as error:
        said = str(error) or type(error).__name__
        raise kind(
            f"{what} {name!r}: its server could not be used: {said.partition('?')[0]}; check the address, the network "
            "and your permissions"
        ) from error


def _foreign() -> tuple[type[Exception], ...]:
    """What the libraries behind fsspec raise beside OSError and ValueError, as far as they are installed."""
    kinds: list[type[Exception]] = [OSError, ValueError, RuntimeError, TimeoutError]
    with contextlib.suppress(ImportError):
        import aiohttp

        kinds.append(aiohttp.ClientError)
    with contextlib.suppress(ImportError):
        import botocore.exceptions

        kinds += [botocore.exceptions.BotoCoreError, botocore.exceptions.ClientError]
    return tuple(kinds)
