"""What `need`, `min_seconds` and `min_frames` found is kept: a second start opens little."""

import functools
import json
import math
import os
import subprocess
import sys
import threading
import wave

import numpy as np
import pytest
from PIL import Image

from ssl_jax.data import decode
from ssl_jax.data.bounded_cache import BoundedCache
from ssl_jax.data.kept import KeptRows, cache_folder
from ssl_jax.data.record import MediaError
from ssl_jax.data.sources.folder import FolderSource
from ssl_jax.data.sources.lengths import Length, lengths
from ssl_jax.data.sources.manifest import Item


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def opened(monkeypatch):
    """The names of the files that were looked into."""
    names, probe = [], decode.probe

    def counted(path, *rest):
        names.append(os.path.basename(path))
        return probe(path, *rest)

    monkeypatch.setattr(decode, "probe", counted)
    return names


def audio(path, seconds):
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(1000)
        file.writeframes(np.zeros(int(1000 * seconds), "<i2").tobytes())


def names(source):
    return [item.path for item in source.items]


def test_the_second_start_opens_only_what_changed(tmp_path, opened):
    folder = tmp_path / "audio"
    folder.mkdir()
    for name, seconds in (("a", 1), ("b", 2), ("c", 3)):
        audio(folder / f"{name}.wav", seconds)
    assert names(FolderSource(str(folder), min_seconds=2.0)) == ["b.wav", "c.wav"]
    assert sorted(opened) == ["a.wav", "b.wav", "c.wav"]
    opened.clear()
    # Other knobs ask the same of the files.
    assert names(FolderSource(str(folder), min_seconds=2.5)) == ["c.wav"]
    assert names(FolderSource(str(folder), need=("audio",))) == ["a.wav", "b.wav", "c.wav"]
    assert not opened
    audio(folder / "a.wav", 4)
    audio(folder / "d.wav", 5)
    (folder / "e.wav").write_bytes(b"no audio")
    for _ in range(2):  # what is broken may be mended, or the network be back
        opened.clear()
        found = names(FolderSource(str(folder), min_seconds=2.5))
        assert found == ["a.wav", "c.wav", "d.wav"]
        assert "e.wav" in opened
    assert opened == ["e.wav"]
    opened.clear()
    limits = decode.Limits(seconds=4.5)  # an answer under other limits is another
    assert names(FolderSource(str(folder), min_seconds=2.5, limits=limits)) == ["a.wav", "c.wav"]
    assert "d.wav" in opened


def test_segments_have_lengths_of_their_own(tmp_path, opened):
    folder = tmp_path / "audio"
    folder.mkdir()
    audio(folder / "a.wav", 3)
    (folder / "list.csv").write_text("path,start,end\na.wav,0,1\na.wav,1,3\na.wav,,\na.wav,9,\n")

    def kept():
        source = FolderSource(str(folder), manifest="list.csv", min_seconds=1.5)
        return [(item.start, item.end) for item in source.items]

    assert kept() == [(1.0, 3.0), (0.0, math.inf)]
    opened.clear()
    assert kept() == [(1.0, 3.0), (0.0, math.inf)]
    assert opened == ["a.wav"]  # the segment that lies beyond the file's end


def test_images_are_not_opened(tmp_path, opened):
    folder = tmp_path / "images"
    folder.mkdir()
    Image.new("RGB", (4, 4)).save(folder / "a.png")
    (folder / "list.csv").write_text("path\na.png\ngone.png\n")
    assert names(FolderSource(str(folder), need=("frames",), min_seconds=1.0)) == ["a.png"]
    listed = FolderSource(str(folder), manifest="list.csv", need=("frames",))
    assert names(listed) == ["a.png"]
    assert not opened


def test_what_was_found_is_kept_when_the_work_is_broken_off(tmp_path):
    (tmp_path / "some").mkdir()
    items = [Item(f"{number}.wav") for number in range(200)]
    for item in items:
        (tmp_path / "some" / item.path).write_bytes(b"x")
    first, lock = [], threading.Lock()

    def broken_off(item):
        with lock:
            first.append(item.path)
            if len(first) > 60:
                raise KeyboardInterrupt
        return Length(1, float(item.path[:-4]), 0.0)

    with pytest.raises(KeyboardInterrupt):
        lengths(str(tmp_path / "some"), items, True, "x", broken_off)
    again = []

    def look(item):
        again.append(item.path)
        return Length(1, float(item.path[:-4]), 0.0)

    found = lengths(str(tmp_path / "some"), items, True, "x", look)
    assert [length.seconds for length in found] == list(range(200))
    assert len(again) == 140
    assert not set(again) & set(first[:60])


def test_rows_survive_other_writers_cuts_and_folders_that_cannot_be_written(tmp_path, caplog):
    one, two = KeptRows("x", "some folder"), KeptRows("x", "some folder")
    one.add([["a", 1.5], ["b", math.inf]])
    two.add([["c", 2]])
    assert list(one.read()) == [["a", 1.5], ["b", math.inf], ["c", 2]]
    with open(one.file, "a") as file:
        file.write('["cut off by a kill')
    one.add([["d", 3]])
    assert list(two.read()) == [["a", 1.5], ["b", math.inf], ["c", 2], ["d", 3]]
    one.replace([["e", 4]])
    assert list(two.read()) == [["e", 4]]
    assert os.listdir(os.path.dirname(one.file)) == [os.path.basename(one.file)]
    assert list(KeptRows("x", "another").read()) == []
    (tmp_path / "cache" / "ssl_jax" / "y").write_text("in the way")
    KeptRows("y", "some folder").add([["a"]])
    assert "cannot be written" in caplog.text
    assert list(KeptRows("y", "some folder").read()) == []


def test_damaged_lines_are_dropped_once_and_told(tmp_path, caplog, opened):
    folder = tmp_path / "audio"
    folder.mkdir()
    for name in "abc":
        audio(folder / f"{name}.wav", 1)
    source = functools.partial(FolderSource, str(folder), need=("audio",))
    assert len(source()) == 3
    (file,) = (tmp_path / "cache" / "ssl_jax" / "lengths").iterdir()
    first, *others = file.read_bytes().splitlines(keepends=True)
    file.write_bytes(b"\xff\x00" + first[9:] + b"".join(others))
    caplog.clear()
    opened.clear()
    for _ in range(2):
        assert names(source()) == ["a.wav", "b.wav", "c.wav"]
    assert len(opened) == 1  # of the damaged line
    (line,) = caplog.messages
    assert line == f"{file}: 1 damaged lines are dropped"


def test_a_line_that_another_process_is_writing_is_no_damage(caplog):
    rows = KeptRows("x", "some folder")
    rows.add([["a", 1]])
    with open(rows.file, "a") as file:
        file.write('["b", 2')
        file.flush()
        assert rows.read() == [["a", 1]]
        file.write("]\n")
    assert rows.read() == [["a", 1], ["b", 2]]
    assert not caplog.messages


def test_two_processes_start_at_once(tmp_path, opened):
    folder = tmp_path / "audio"
    folder.mkdir()
    for number in range(40):
        audio(folder / f"{number}.wav", 0.1)
    start = (
        "from ssl_jax.data.sources.folder import FolderSource\n"
        f"print(len(FolderSource({str(folder)!r}, need=('audio',))))"
    )
    run = functools.partial(subprocess.Popen, stdout=subprocess.PIPE, text=True)
    processes = [run([sys.executable, "-c", start]) for _ in range(2)]
    assert [process.communicate()[0] for process in processes] == ["40\n", "40\n"]
    assert len(FolderSource(str(folder), need=("audio",))) == 40
    assert not opened


def test_rows_that_make_no_sense_are_passed_over(tmp_path):
    (tmp_path / "a.wav").write_bytes(b"x")
    calls = []

    def look(item):
        calls.append(item.path)
        return Length(0, 2.0, 2.0)

    for _ in range(2):
        assert lengths(str(tmp_path), [Item("a.wav")], True, "x", look) == [Length(0, 2.0, 2.0)]
    assert calls == ["a.wav"]
    folder = os.path.join(cache_folder(), "lengths")
    (file,) = os.listdir(folder)
    with open(os.path.join(folder, file), "a") as stream:
        stream.write(json.dumps(["another", "form"]) + "\nnull\n\x00\n")
    assert lengths(str(tmp_path), [Item("a.wav")], True, "x", look) == [Length(0, 2.0, 2.0)]
    assert calls == ["a.wav"]


def test_an_error_that_is_no_broken_file_is_raised(tmp_path):
    (tmp_path / "a.wav").write_bytes(b"x")

    def bug(item):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        lengths(str(tmp_path), [Item("a.wav")], True, "x", bug)

    def broken(item):
        raise MediaError("a.wav: cannot be read")

    (found,) = lengths(str(tmp_path), [Item("a.wav")], True, "x", broken)
    assert found.error == "a.wav: cannot be read"


def test_a_cache_is_bounded_by_bytes():
    cache, made = BoundedCache(100, len), []

    def ask(key, size):
        def make():
            made.append(key)
            return bytes(size)

        return cache.get(key, make)

    for key in ("a", "b", "a", "c", "a", "b"):  # b is the one that was asked for longest ago
        assert len(ask(key, 40)) == 40
        assert cache.bytes <= 100
    assert made == ["a", "b", "c", "b"]
    assert len(ask("large", 500)) == 500
    assert len(ask("large", 500)) == 500
    assert made.count("large") == 1
    ask("d", 10)
    assert cache.bytes == 10

    def broken():
        raise MediaError("x: cannot be read")

    for _ in range(2):
        with pytest.raises(MediaError):
            cache.get("broken", broken)
    assert cache.bytes == 10
