"""Media and shards in stores that fsspec opens, and shards in gs://, on servers of our own."""

import http.server
import re
import sys
import threading
from pathlib import Path

import fsspec
import media
import numpy as np
import pytest
from fsspec.implementations.local import LocalFileSystem
from PIL import Image

from ssl_jax import prepare
from ssl_jax.config import ConfigError
from ssl_jax.data import decode, paths, shards
from ssl_jax.data.record import MediaError
from ssl_jax.data.sources.array_record import ArrayRecordSource
from ssl_jax.data.sources.folder import FolderSource

RATE = 8000


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("media")
    (root / "walk").mkdir()
    wave = media.noise(2, RATE)
    media.write(root / "walk" / "a.mov", 50, wave=wave, rate=RATE, options={"g": "10", "bf": "2"})
    media.write(root / "walk" / "b.mp4", 30, options={"g": "250"})
    media.write(root / "c.wav", 0, wave=wave, rate=RATE)
    media.write(root / "d.flac", 0, wave=wave, rate=RATE, audio_codec="flac")
    Image.fromarray(media.picture(7)).save(root / "p.png")
    Image.fromarray(media.picture(9)).save(root / "q.jpg")
    (root / "broken.mp4").write_text("no video")
    (root / "empty.mp4").write_bytes(b"")
    (root / ".hidden.mp4").write_text("")
    (root / "list.csv").write_text("path,label\nwalk/a.mov,2\nq.jpg,1\n")
    return root


@pytest.fixture
def store(folder, request):
    """The same files as URLs of a store in memory."""
    system = fsspec.filesystem("memory")
    system.put(f"{folder}/", f"/{request.node.name}/", recursive=True)
    yield f"memory://{request.node.name}"
    system.rm(f"/{request.node.name}", recursive=True)


def names(source):
    return [item.path for item in source.items]


@pytest.fixture
def serial(monkeypatch):
    monkeypatch.setattr(prepare, "run", lambda jobs, *_: [shards.make(job) for job in jobs])


def test_a_store_is_read_as_a_folder_is(folder, store):
    there, here = FolderSource(store), FolderSource(str(folder))
    assert names(there) == names(here)
    assert there.label_names == here.label_names == ("walk",)
    read = 0
    for number, name in enumerate(names(here)):
        if name in ("broken.mp4", "empty.mp4"):
            with pytest.raises(MediaError, match=rf"memory://.*{name}: (cannot be read|is empty)"):
                there[number]
            continue
        ours, theirs = there[number], here[number]
        assert (ours.name, ours.label, ours.num_frames) == (name, theirs.label, theirs.num_frames)
        assert ours.duration == theirs.duration
        if theirs.frames:
            chosen = [theirs.num_frames - 1, 0, theirs.num_frames // 2]
            np.testing.assert_array_equal(ours.frames(chosen), theirs.frames(chosen))
        if theirs.audio:
            np.testing.assert_array_equal(ours.audio(0.3, 1.7), theirs.audio(0.3, 1.7))
        read += 1
    assert read == 6


def test_the_manifest_of_a_store_and_what_it_needs(store):
    source = FolderSource(store, manifest="list.csv")
    assert names(source) == ["walk/a.mov", "q.jpg"]
    assert [record.label for record in (source[0], source[1])] == [2, 1]
    assert names(FolderSource(store, need=("frames", "audio"))) == ["walk/a.mov"]


def test_a_changed_file_of_a_store_is_seen(store):
    system, path = fsspec.core.url_to_fs(f"{store}/q.jpg")
    before = decode.read_frames(f"{store}/q.jpg", [0])
    system.pipe_file(path, Path(__file__).read_bytes())
    with pytest.raises(MediaError, match=r"q\.jpg: cannot be read"):
        decode.read_frames(f"{store}/q.jpg", [0])
    assert before.shape == (1, 48, 80, 3)


def test_prepare_from_a_store_to_a_store(folder, store, tmp_path, serial):
    options = shards.Options(short_side=32, audio="flac")
    here = prepare.prepare(str(folder), str(tmp_path / "here"), options=options, num_shards=2)
    output = f"{store}_shards"
    there = prepare.prepare(store, output, options=options, num_shards=2)
    assert here["shards"] == there["shards"]  # the same hashes
    assert {line["path"] for line in there["rejected"]} == {"broken.mp4", "empty.mp4"}
    system, path = fsspec.core.url_to_fs(output)
    changed = {name: system.info(f"{path}/{name}") for name in paths.names(output)}
    again = prepare.prepare(store, output, options=options, num_shards=2)
    assert again == there
    for name in paths.names(output):  # whole shards are kept
        if name.endswith("array_record"):
            assert system.info(f"{path}/{name}")["created"] == changed[name]["created"]
    with pytest.raises(ConfigError, match="of another run"):
        prepare.prepare(store, output, options=options, num_shards=1)
    with pytest.raises(ConfigError, match=r"folders or from gs://; copy them here or mount"):
        len(ArrayRecordSource((output,)))
    system.get(path, str(tmp_path / "copy"), recursive=True)
    for copied, made in zip(
        ArrayRecordSource((str(tmp_path / "copy"),)),
        ArrayRecordSource((str(tmp_path / "here"),)),
        strict=True,
    ):
        assert copied.name == made.name
    system.rm(path, recursive=True)


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("nostore://bucket", "nostore://bucket: Protocol not known.*; or copy the files"),
        ("memory://nothing", "there is no folder 'memory://nothing'"),
    ],
)
def test_stores_that_cannot_be_read_cost_one_line(url, message):
    with pytest.raises(ConfigError, match=message) as caught:
        FolderSource(url)
    assert "\n" not in str(caught.value)


def test_a_playlist_in_a_store_opens_no_other_file(store, folder):
    system, path = fsspec.core.url_to_fs(store)
    lines = ["#EXTM3U", "#EXT-X-TARGETDURATION:2", "#EXTINF:2,", str(folder / "walk" / "b.mp4")]
    system.pipe_file(f"{path}/list.mp4", "\n".join([*lines, "#EXT-X-ENDLIST", ""]).encode())
    with pytest.raises(MediaError, match=r"list\.mp4: "):
        decode.probe(f"{store}/list.mp4")


# gs://, which array_record reads by itself


class Bucket(LocalFileSystem):
    """What gcsfs does for files, on a folder of this machine."""

    root = ""

    @classmethod
    def _strip_protocol(cls, path):
        return path.replace("gs://bucket", cls.root)


@pytest.fixture
def bucket(tmp_path, monkeypatch):
    """gs://bucket is this folder, for fsspec and, by a server, for array_record."""

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self):
            name = re.search(r"/(?:b/)?bucket/(?:o/)?([^?]*)", self.path)[1].replace("%2F", "/")
            file = tmp_path / name
            if not file.is_file():
                self.send_response(404)
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            data = file.read_bytes()
            asked = re.fullmatch(r"bytes=(\d*)-(\d*)", self.headers.get("Range", "bytes=0-"))
            first, last = asked[1], asked[2]
            if first == "":
                begin, end = max(0, len(data) - int(last)), len(data)
            else:
                begin, end = int(first), min(len(data), int(last or len(data)) + 1)
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {begin}-{end - 1}/{len(data)}")
            self.send_header("Content-Length", str(end - begin))
            self.end_headers()
            self.wfile.write(data[begin:end])

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    monkeypatch.setenv("CLOUD_STORAGE_EMULATOR_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setattr(Bucket, "root", str(tmp_path))
    monkeypatch.setitem(sys.modules["fsspec.registry"]._registry, "gs", Bucket)
    Bucket.clear_instance_cache()
    yield tmp_path
    server.shutdown()
    server.server_close()
    thread.join()


def test_shards_are_read_from_gs(folder, bucket, serial):
    prepare.prepare(str(folder), str(bucket / "shards"), options=shards.Options(short_side=32))
    here = ArrayRecordSource((str(bucket / "shards"),))
    there = ArrayRecordSource(("gs://bucket/shards",))
    assert len(here) == len(there) > 5
    for ours, theirs in zip(there, here, strict=True):
        assert ours.name == theirs.name
        assert ours.num_frames == theirs.num_frames
        if theirs.frames:
            np.testing.assert_array_equal(ours.frames([0]), theirs.frames([0]))
        if theirs.audio:
            np.testing.assert_array_equal(ours.audio(0.2, 0.9), theirs.audio(0.2, 0.9))
    with pytest.raises(ConfigError, match=r"gs://bucket/nothing: has no manifest\.json"):
        len(ArrayRecordSource(("gs://bucket/nothing",)))
