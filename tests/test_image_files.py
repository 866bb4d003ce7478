"""Image files: pixels of more than eight bits, checksums, and one limit on their size."""

import io
import threading
import warnings
import zlib

import numpy as np
import pytest
from PIL import Image

from ssl_jax import prepare
from ssl_jax.data import shards
from ssl_jax.data.decode import decode_image, probe, read_frames
from ssl_jax.data.media import Limits
from ssl_jax.data.record import MediaError
from ssl_jax.data.sources.array_record import ArrayRecordSource
from ssl_jax.data.sources.folder import FolderSource

RAMP = np.linspace(0, 1, 4096).reshape(64, 64)


@pytest.fixture
def serial(monkeypatch):
    monkeypatch.setattr(prepare, "run", lambda jobs, *_: [shards.make(job) for job in jobs])


def tiff(values) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(values).save(stream, "TIFF")
    return stream.getvalue()


@pytest.mark.parametrize(
    "values",
    [
        RAMP.astype("f4"),
        (255 * RAMP).astype("f4"),
        (65535 * RAMP).astype("f4"),
        (255 * RAMP).astype("i4"),
        (65535 * RAMP).astype("i4"),
        (65535 * RAMP).astype("u2"),
    ],
    ids=["0..1", "0..255", "0..65535", "32 bits to 255", "32 bits to 65535", "16 bits"],
)
def test_deep_images_are_as_bright_as_they_should_be(tmp_path, values):
    (tmp_path / "x.tif").write_bytes(tiff(values))
    expected = np.repeat(255 * RAMP[..., None], 3, axis=-1)
    frame = read_frames(tmp_path / "x.tif", [0])[0]
    np.testing.assert_allclose(frame, expected, atol=1.01)
    np.testing.assert_array_equal(decode_image("x", tiff(values)), frame)


@pytest.mark.parametrize(
    "values",
    [
        2 * RAMP - 1,
        -255 * RAMP,
        1.7 * RAMP,
        1e6 * RAMP,
        1000 * RAMP,
        np.where(RAMP > 0.5, np.nan, RAMP),
        np.where(RAMP > 0.5, np.inf, RAMP),
        np.full((64, 64), np.nan),
    ],
    ids=["-1..1", "negative", "0..1.7", "0..1e6", "0..1000", "NaN", "infinite", "only NaN"],
)
def test_floats_of_an_unknown_range_are_refused_by_name(tmp_path, values, serial):
    (tmp_path / "x.tif").write_bytes(tiff(values.astype("f4")))
    with pytest.raises(MediaError, match=r"x\.tif: .*float pixels of unknown range"):
        read_frames(tmp_path / "x.tif", [0])
    with pytest.raises(MediaError, match=r"^set 3: .*float pixels of unknown range"):
        decode_image("set 3", tiff(values.astype("f4")))
    Image.fromarray((255 * RAMP).astype("u1")).save(tmp_path / "good.png")
    done = prepare.prepare(str(tmp_path), str(tmp_path / "shards"))
    assert [line["path"] for line in done["rejected"]] == ["x.tif"]


def test_deep_images_that_are_dark_or_signed(tmp_path):
    assert not decode_image("x", tiff(np.zeros((8, 8), "f4"))).any()
    # 16 bits state their range: a dark image is dark.
    assert decode_image("x", tiff(np.full((8, 8), 514, "u2"))).max() == 2
    with pytest.raises(MediaError, match="integer pixels of unknown range"):
        decode_image("x", tiff(np.full((8, 8), -5, "i4")))
    with pytest.raises(MediaError, match="integer pixels of unknown range"):
        decode_image("x", tiff(np.full((8, 8), 1_000_000, "i4")))


def test_sixteen_bits_of_other_formats(tmp_path):
    levels = (65535 * RAMP).astype("u2")
    Image.fromarray(levels).save(tmp_path / "x.png")
    (tmp_path / "x.pgm").write_bytes(b"P5 64 64 65535\n" + levels.astype(">u2").tobytes())
    (tmp_path / "y.pgm").write_bytes(b"P5 64 64 1023\n" + (levels // 64).astype(">u2").tobytes())
    for name in ("x.png", "x.pgm", "y.pgm"):
        frame = read_frames(tmp_path / name, [0])[0]
        np.testing.assert_allclose(frame[..., 1], 255 * RAMP, atol=1.2)


@pytest.mark.parametrize("dtype", ["u2", "f4"])
def test_a_deep_image_that_lies_on_its_side(tmp_path, dtype):
    exif = Image.Exif()
    exif[0x0112] = 6
    scale = 65535 if dtype == "u2" else 1
    Image.fromarray((scale * RAMP[:32]).astype(dtype)).save(tmp_path / "x.tif", exif=exif)
    expected = np.rot90(255 * RAMP[:32], -1)
    frame = read_frames(tmp_path / "x.tif", [0])[0]
    np.testing.assert_allclose(frame[..., 0], expected, atol=1.01)


def chunks(png: bytes):
    """(begin of the data, length, name) of each chunk."""
    at = 8
    while at < len(png):
        length = int.from_bytes(png[at : at + 4], "big")
        yield at + 8, length, png[at + 4 : at + 8]
        at += 12 + length


@pytest.mark.parametrize("kind", ["grey", "colours", "palette", "moving"])
def test_a_changed_png_is_refused_by_its_checksum(tmp_path, kind):
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 3), "u1")
    image = Image.fromarray(pixels)
    if kind != "colours":
        image = image.convert({"grey": "L", "palette": "P", "moving": "RGB"}[kind])
    more = {"save_all": True, "append_images": [image.rotate(90)]} if kind == "moving" else {}
    stream = io.BytesIO()
    # Stored without compression, so that a changed byte is a changed pixel and nothing else.
    image.save(stream, "PNG", compress_level=0, **more)
    png = stream.getvalue()
    (tmp_path / "x.png").write_bytes(png)
    assert read_frames(tmp_path / "x.png", [0]).shape == (1, 64, 64, 3)
    begin, length, _ = next(c for c in chunks(png) if c[2] in (b"IDAT", b"fdAT"))
    damaged = bytearray(png)
    damaged[begin + length // 2] ^= 0x55
    (tmp_path / "y.png").write_bytes(damaged)
    with pytest.raises(MediaError, match=r"y\.png: "):
        read_frames(tmp_path / "y.png", [0])
    with pytest.raises(MediaError, match=r"^set 5: "):
        decode_image("set 5", bytes(damaged))


def large_png(width: int, height: int) -> bytes:
    """Black, one bit a pixel; quicker to make than to ask Pillow for."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return len(data).to_bytes(4, "big") + name + data + zlib.crc32(name + data).to_bytes(4)

    head = width.to_bytes(4, "big") + height.to_bytes(4, "big") + bytes([1, 0, 0, 0, 0])
    rows = zlib.compress(bytes(height * (1 + -(-width // 8))), 1)
    parts = [chunk(b"IHDR", head), chunk(b"IDAT", rows), chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def test_only_our_limit_rules_the_size(tmp_path, monkeypatch, serial):
    # Pillow's own limit, made small so that the test need not read gigabytes.
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    folder = tmp_path / "media"
    folder.mkdir()
    (folder / "middle.png").write_bytes(large_png(50, 30))
    (folder / "big.png").write_bytes(large_png(100, 60))
    Image.new("L", (100, 61)).save(folder / "big.tif")
    Image.new("P", (100, 61)).save(folder / "packed.tif", compression="tiff_lzw")
    Image.new("L", (100, 62)).save(folder / "big.jpg")
    Image.new("L", (100, 64)).save(folder / "big.gif")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for record in FolderSource(str(folder), limits=Limits(pixels=7000)):
            assert record.frames([0]).shape[2] in (50, 100)
        for file in folder.iterdir():
            with pytest.raises(MediaError, match=f"{file.name}: .*limits.pixels"):
                probe(file, Limits(pixels=1000))
        data = (folder / "big.png").read_bytes()
        assert decode_image("a", data, Limits(pixels=6000)).shape == (60, 100, 3)
        with pytest.raises(MediaError, match=r"limits\.pixels"):
            decode_image("a", data, Limits(pixels=5999))
        options = shards.Options(short_side=0)
        done = prepare.prepare(
            str(folder), str(tmp_path / "shards"), options=options, limits=Limits(pixels=7000)
        )
        assert not done["rejected"]
        assert len(ArrayRecordSource((str(tmp_path / "shards"),))) == 6
        for record in ArrayRecordSource((str(tmp_path / "shards"),)):
            assert record.frames([0]).shape[2] in (50, 100)


@pytest.mark.parametrize("disposal", [0, 1, 2, 3])
def test_only_our_limit_rules_gifs_that_move(tmp_path, monkeypatch, disposal):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    path = tmp_path / "moves.gif"
    first, *others = (Image.new("P", (100, 64), k) for k in range(4))
    first.putpalette(range(12))
    for other in others:
        other.putpalette(range(12))
    first.save(path, save_all=True, append_images=others, disposal=disposal, duration=40)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        media = probe(path, Limits(pixels=6400))
        frames = read_frames(path, range(4), Limits(pixels=6400))
        assert media.num_frames == 4
        np.testing.assert_array_equal(frames[:, 5, 5, 0], [0, 3, 6, 9])
        with pytest.raises(MediaError, match=r"limits\.pixels"):
            probe(path, Limits(pixels=6399))
    assert Image.MAX_IMAGE_PIXELS == 1000


def test_a_gif_that_grows_is_ruled_too(tmp_path):
    path = tmp_path / "grows.gif"
    images = [Image.new("P", (40, 30), k) for k in range(2)]
    images[0].save(path, save_all=True, append_images=images[1:])
    data = bytearray(path.read_bytes())
    place = data.rindex(b"\x2c\0\0\0\0" + bytes([40, 0, 30, 0]))  # where the second image begins
    data[place + 5 : place + 9] = (400).to_bytes(2, "little") + (300).to_bytes(2, "little")
    path.write_bytes(data)
    with pytest.raises(MediaError, match=r"grows\.gif: 400x300 pixels .*limits\.pixels"):
        probe(path, Limits(pixels=2000))


def test_an_image_beyond_pillows_own_limit():
    data = large_png(20_000, 10_000)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(MediaError, match=r"^a: 20000x10000 pixels .*limits\.pixels"):
            decode_image("a", data)


def test_the_users_own_limit_of_pillow_is_left_alone(tmp_path):
    before, seen = Image.MAX_IMAGE_PIXELS, []
    (tmp_path / "x.png").write_bytes(large_png(64, 64))

    def read():
        read_frames(tmp_path / "x.png", [0])
        seen.append(Image.MAX_IMAGE_PIXELS)

    threads = [threading.Thread(target=read) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == [before] * 8
