# SPDX-License-Identifier: MIT
"""Inputs and outputs in S3, against a server that speaks its protocol."""

import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import moto.server
import pytest
import s3fs
from vireo_client import Client
from vireo_client.testing import Loopback
from vireo_media.container import MediaSource
from vireo_media.errors import InputError, InputMissingError, OutputError, OutputExistsError
from vireo_media.probing import probe
from vireo_media.testing import numbered_clip, read_numbers


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Any]:
    """A file system on the server, which holds bucket/in.mp4 and takes every key."""
    server = moto.server.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    for name, value in {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": str(tmp_path / "none"),
        "AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "none"),
        "XDG_CACHE_HOME": str(tmp_path / "cache"),
    }.items():
        monkeypatch.setenv(name, value)
    # moto keeps what it holds for the process, and fsspec its file systems.
    urllib.request.urlopen(f"http://{host}:{port}/moto-api/reset", data=b"").close()
    s3fs.S3FileSystem.clear_instance_cache()
    system = s3fs.S3FileSystem()
    system.mkdir("bucket")
    numbered_clip(tmp_path / "in.mp4", frames=50, size=(160, 96), gop=25, audio="aac")
    system.put_file(str(tmp_path / "in.mp4"), "bucket/in.mp4")
    yield system
    s3fs.S3FileSystem.clear_instance_cache()
    server.stop()


def ask_for_keys(store: Any, *, after: bytes) -> None:
    """Keys are looked at after so many more requests."""
    address = f"{store.s3.meta.endpoint_url}/moto-api/reset-auth"
    headers = {"Content-Type": "text/plain"}
    urllib.request.urlopen(urllib.request.Request(address, data=after, headers=headers)).close()


def test_a_video_from_a_bucket_to_a_bucket(store: Any) -> None:
    with Client(transport=Loopback()) as client:
        result = client.run("passthrough", "s3://bucket/in.mp4", "s3://bucket/sub/out.mp4")
        assert result.output == "s3://bucket/sub/out.mp4"
        with pytest.raises(OutputExistsError, match="is there already"):
            client.run("passthrough", "s3://bucket/in.mp4", "s3://bucket/sub/out.mp4")
        client.run("passthrough", "s3://bucket/in.mp4", "s3://bucket/sub/out.m3u8")
    assert read_numbers(store.cat("bucket/sub/out.mp4")) == list(range(50))
    assert sorted(store.ls("bucket/sub", detail=False))[:3] == [
        "bucket/sub/out.m3u8",
        "bucket/sub/out.mp4",
        "bucket/sub/out_00000.m4s",
    ]


@pytest.mark.parametrize("address", ["s3://bucket/missing.mp4", "s3://nobody/in.mp4"])
def test_what_is_not_there(store: Any, address: str) -> None:
    with pytest.raises(InputMissingError, match=f"{address}': there is no such file"):
        probe(MediaSource(address))


def test_a_bucket_that_is_not_there_is_said_before_any_work(store: Any) -> None:
    loopback = Loopback()
    with Client(transport=loopback) as client, pytest.raises(OutputError, match="there is no bucket 'nobody'"):
        client.run("passthrough", "s3://bucket/in.mp4", "s3://nobody/out.mp4")
    assert loopback.opened == 0


def test_without_keys(store: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    s3fs.S3FileSystem.clear_instance_cache()
    with pytest.raises(InputError, match=r"'s3://bucket/in.mp4': its server could not be used: .*credentials"):
        probe(MediaSource("s3://bucket/in.mp4"))
    with Client(transport=Loopback()) as client, pytest.raises(OutputError, match="credentials"):
        client.run("passthrough", "s3://bucket/in.mp4", "s3://bucket/out.mp4")


def test_with_wrong_keys(store: Any) -> None:
    ask_for_keys(store, after=b"0")
    try:
        with pytest.raises(InputError, match=r"'s3://bucket/in.mp4': its server could not be used") as read:
            probe(MediaSource("s3://bucket/in.mp4"))
        with Client(transport=Loopback()) as client, pytest.raises(OutputError) as written:
            client.run("passthrough", "s3://bucket/in.mp4", "s3://bucket/out.mp4")
    finally:
        ask_for_keys(store, after=b"inf")
    assert "secret" not in str(read.value) + str(written.value)
