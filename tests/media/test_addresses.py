# SPDX-License-Identifier: MIT
"""Inputs and outputs by address, against a real HTTP server of this process."""

import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import av
import pytest

pytest.importorskip("fsspec")

from vireo_client import Client
from vireo_client.testing import Loopback
from vireo_media.addresses import display_name, is_address, staging_path
from vireo_media.container import MediaSource, read_packets
from vireo_media.errors import InputError, InputMissingError, OutputError, OutputExistsError
from vireo_media.probing import probe
from vireo_media.testing import numbered_clip, read_numbers


class Store(BaseHTTPRequestHandler):
    """Keeps what is PUT, gives it whole or by range; `/plain/` answers without ranges, `/locked/` with 403."""

    files: dict[str, bytes] = {}  # noqa: RUF012 - one store for all requests
    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self._give(with_body=False)

    def do_GET(self) -> None:
        self._give(with_body=True)

    def do_PUT(self) -> None:
        data = self._body()
        if self.path.startswith("/locked/"):
            self._answer(403)
        else:
            self.files[self.path.partition("?")[0]] = data
            self._answer(201)

    def _body(self) -> bytes:
        if "Content-Length" in self.headers:
            return self.rfile.read(int(self.headers["Content-Length"]))
        data = b""
        while size := int(self.rfile.readline(), 16):  # chunked
            data += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return data

    def _give(self, *, with_body: bool) -> None:
        data = self.files.get(self.path.partition("?")[0])
        if data is None:
            self._answer(404)
            return
        wanted, status, headers = self.headers.get("Range"), 200, {}
        if not self.path.startswith("/plain/"):
            headers["Accept-Ranges"] = "bytes"
            if wanted and with_body:
                first, _, last = wanted.removeprefix("bytes=").partition("-")
                end = min(int(last) if last else len(data) - 1, len(data) - 1)
                headers["Content-Range"] = f"bytes {first}-{end}/{len(data)}"
                data, status = data[int(first) : end + 1], 206
        self._answer(status, data, headers, with_body=with_body)

    def _answer(
        self, status: int, data: bytes = b"", headers: dict[str, str] | None = None, *, with_body: bool = True
    ) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if with_body:
            self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[str]:
    """Its address; results on their way to it are staged under `tmp_path`."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    Store.files.clear()
    numbered_clip(tmp_path / "in.mp4", frames=50, size=(160, 96), gop=25, audio="aac")
    numbered_clip(tmp_path / "large.mkv", frames=120, size=(160, 96), codec="rawvideo")
    Store.files["/in.mp4"] = (tmp_path / "in.mp4").read_bytes()
    Store.files["/plain/in.mkv"] = (tmp_path / "large.mkv").read_bytes()  # more than a block
    server = ThreadingHTTPServer(("127.0.0.1", 0), Store)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_video_from_an_address_to_an_address(store: str, tmp_path: Path) -> None:
    with Client(transport=Loopback()) as client:
        result = client.run("passthrough", f"{store}/in.mp4", f"{store}/out.mp4?signature=secret")
        assert result.output == f"{store}/out.mp4"
        assert (result.frames_in, result.frames_out) == (50, 50)
        assert read_numbers(Store.files["/out.mp4"]) == list(range(50))
        client.run("passthrough", f"{store}/in.mp4", tmp_path / "local.mp4")
    assert (tmp_path / "local.mp4").read_bytes() == Store.files["/out.mp4"]
    assert not staging_path(f"{store}/out.mp4").exists()


def test_an_object_store_by_its_own_scheme(store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """s3fs does not install beside what is pinned here, so fsspec's own store in memory answers for s3: what is asked
    of a file system is the same for all of them. test_object_store has the real one.
    """
    import fsspec  # type: ignore[import-untyped]
    from fsspec.implementations.memory import MemoryFileSystem  # type: ignore[import-untyped]

    class Bucket(MemoryFileSystem):  # type: ignore[misc]
        protocol = ("s3",)

    # The attribute fsspec.registry is not that module.
    monkeypatch.setitem(sys.modules["fsspec.registry"]._registry, "s3", Bucket)
    system = fsspec.filesystem("s3")
    system.pipe("s3://bucket/in.mp4", Store.files["/in.mp4"])
    with Client(transport=Loopback()) as client:
        assert client.run("passthrough", "s3://bucket/in.mp4", "s3://bucket/out.mp4").output == "s3://bucket/out.mp4"
        with pytest.raises(OutputExistsError, match="is there already"):
            client.run("passthrough", "s3://bucket/in.mp4", "s3://bucket/out.mp4")
        with pytest.raises(InputMissingError, match="there is no such file"):
            client.run("passthrough", "s3://bucket/missing.mp4", "s3://bucket/other.mp4")
    assert read_numbers(system.cat("s3://bucket/out.mp4")) == list(range(50))


def test_damage_is_looked_for_at_an_address_too(store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Up to a size: what is larger would have to be fetched once more, so it is said that nobody looked."""
    numbered_clip(tmp_path / "in.flv", frames=20, size=(64, 48), bframes=0)
    with av.open(str(tmp_path / "in.flv")) as container:
        packet = [bytes(packet) for packet in container.demux(0)][12]
    data = (tmp_path / "in.flv").read_bytes()
    at = data.index(packet)
    Store.files["/in.flv"] = data[: at - 16] + bytes(range(100, 116)) + data[at:]
    with pytest.raises(InputError, match=r"/in.flv': byte [0-9]+ of [0-9]+ begins nothing"):
        list(read_packets(MediaSource(f"{store}/in.flv")))
    monkeypatch.setattr("vireo_media.integrity._SEARCHED_FAR", 1000)
    for name, said in (("in.flv", True), ("in.mp4", False)):  # The index of an mp4 is looked at in any case.
        source = MediaSource(f"{store}/{name}")
        list(read_packets(source))
        assert ("not searched" in source.remarks) == said


def test_a_playlist_goes_up_with_its_fragments(store: str) -> None:
    with Client(transport=Loopback()) as client:
        client.run("passthrough", f"{store}/in.mp4", f"{store}/hls/out.m3u8")
    assert sorted(name for name in Store.files if name.startswith("/hls/")) == [
        "/hls/out.m3u8",
        "/hls/out_00000.m4s",
        "/hls/out_init.mp4",
    ]
    assert read_numbers(Store.files["/hls/out_init.mp4"] + Store.files["/hls/out_00000.m4s"]) == list(range(50))


def test_what_is_there_is_not_replaced_unless_that_is_asked_for(store: str) -> None:
    Store.files["/out.mp4"] = b"something"
    with Client(transport=Loopback()) as client:
        with pytest.raises(OutputExistsError, match="is there already; nothing was done"):
            client.run("passthrough", f"{store}/in.mp4", f"{store}/out.mp4")
        assert Store.files["/out.mp4"] == b"something"
        client.run("passthrough", f"{store}/in.mp4", f"{store}/out.mp4", overwrite=True)
    assert len(read_numbers(Store.files["/out.mp4"])) == 50


def test_what_cannot_be_sent_is_kept_and_said(store: str) -> None:
    with Client(transport=Loopback()) as client, pytest.raises(OutputError, match="the result is whole in"):
        client.run("passthrough", f"{store}/in.mp4", f"{store}/locked/out.mp4")
    assert len(read_numbers(str(staging_path(f"{store}/locked/out.mp4")))) == 50


@pytest.mark.parametrize(
    ("path", "kind", "words"),
    [
        ("/missing.mp4?token=secret", InputMissingError, r"/missing.mp4': there is no such file"),
        ("/plain/in.mkv", InputError, "/plain/in.mkv': its server could not be used: .*range"),
    ],
)
def test_what_cannot_be_read_is_said_without_secrets(store: str, path: str, kind: type[Exception], words: str) -> None:
    with pytest.raises(kind, match=words) as raised:
        list(read_packets(MediaSource(store + path)))
    assert "secret" not in str(raised.value)


def test_a_server_that_is_not_there(store: str) -> None:
    with pytest.raises(InputError, match=r"127\.0\.0\.1:9/in\.mp4"):
        probe(MediaSource("http://127.0.0.1:9/in.mp4"))


def test_only_some_schemes_are_addresses() -> None:
    assert all(map(is_address, ("http://a/b", "https://a/b", "s3://bucket/key", "HTTP://a/b")))
    assert not any(map(is_address, ("a.mp4", "file:///etc/passwd", "ftp://a/b", "http:x y.mp4", Path("http://a"), b"")))
    assert display_name("https://user:password@host/in.mp4?X-Amz-Signature=1") == "https://host/in.mp4"


def test_a_package_that_is_missing_is_named(store: str) -> None:
    pytest.importorskip("fsspec")
    try:
        import s3fs  # type: ignore[import-not-found]  # noqa: F401
    except ImportError:
        with pytest.raises(InputError, match=r"pip install 'vireo\[s3\]'"):
            probe(MediaSource("s3://bucket/in.mp4"))
