"""What a folder's source does not take is told: broken files by name, other files by number."""

import logging

import media
import pytest

from ssl_jax.data.sources.folder import FolderSource


@pytest.mark.parametrize(
    "knobs", [{"need": ("frames",)}, {"min_seconds": 0.5}, {"min_frames": 2}], ids=str
)
def test_unreadable_files_are_named(tmp_path, caplog, knobs):
    media.write(tmp_path / "good.mp4")
    (tmp_path / "broken.mp4").write_text("no video")
    (tmp_path / "empty.mov").write_bytes(b"")
    with caplog.at_level(logging.WARNING):
        assert [record.name for record in FolderSource(str(tmp_path), **knobs)] == ["good.mp4"]
    for name in ("broken.mp4: cannot be read", "empty.mov: is empty"):
        assert sum(name in line for line in caplog.messages) == 1
    assert any("1 of 3 records; left out: 2 unreadable" in line for line in caplog.messages)


def test_files_of_unknown_endings_are_counted_with_an_example(tmp_path, caplog):
    (tmp_path / "class").mkdir()
    media.write(tmp_path / "class" / "good.mp4")
    with caplog.at_level(logging.WARNING):
        assert len(FolderSource(str(tmp_path))) == 1
        assert caplog.messages == []
        for name in ("a.heic", "b.heic", ".hidden"):
            (tmp_path / "class" / name).write_bytes(b"?")
        assert len(FolderSource(str(tmp_path))) == 1
    assert len(caplog.messages) == 1
    assert "2 files of unknown endings are passed over, such as class/a.heic" in caplog.messages[0]
