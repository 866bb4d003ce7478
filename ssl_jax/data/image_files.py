"""Image files, read by Pillow and libjpeg-turbo; several images in one file are a video."""

import contextlib
import io
from collections.abc import Iterator

import numpy as np
from jaxtyping import UInt8

from ssl_jax.data import paths
from ssl_jax.data.media import Limits, Media, check_size, errors_name

ANIMATED = ("AVIF", "GIF", "PNG", "WEBP")  # whose several images are a video


def rgb(image) -> UInt8[np.ndarray, "h w 3"]:
    """A Pillow image as it should be seen: upright, on white, eight bits a channel."""
    from PIL import Image, ImageOps

    if image.getexif().get(0x0112, 1) != 1:
        image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I"):  # 16 bits of grey, which Pillow would clip at 255
        image = Image.fromarray((np.asarray(image, np.int64).clip(0, 65535) // 257).astype("u1"))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return np.array(image if image.mode == "RGB" else image.convert("RGB"))


def decode_image(name: str, data: bytes) -> UInt8[np.ndarray, "h w 3"]:
    """An encoded image (JPEG, PNG, ...) from memory. MediaError with `name` if it is broken."""
    with errors_name(name), _image(io.BytesIO(data), name, Limits()) as image:
        pixels = _read_jpeg(data) if _is_plain_jpeg(image) else None
        return rgb(image) if pixels is None else pixels


def _is_plain_jpeg(image) -> bool:
    """Whether it is upright colour or grey, which needs no Pillow."""
    upright = image.format == "JPEG" and image.getexif().get(0x0112, 1) == 1
    return upright and image.mode in ("RGB", "L")


def _read_jpeg(data: bytes) -> UInt8[np.ndarray, "h w 3"] | None:
    """ValueError where libjpeg warns that something is missing, and would fill it with grey.

    Bytes too many between the parts of a file, as some cameras leave them, do no harm: then None,
    Pillow reads it. Before the marker of the end (0xd9) they are what is left of an image whose
    code went out of step.
    """
    import simplejpeg

    try:
        return simplejpeg.decode_jpeg(data, "RGB")
    except ValueError as error:
        if "extraneous bytes" not in str(error) or str(error).endswith("0xd9"):
            raise
        return None


@contextlib.contextmanager
def _image(file, name: str, limits: Limits) -> Iterator:
    from PIL import Image

    with Image.open(file) as image:
        check_size(name, image.width, image.height, limits)
        yield image


def probe_image_file(path: str, limits: Limits) -> Media:
    """What a file of one or several images holds."""
    with paths.opened(path) as file, _image(file, path, limits) as image:
        moves = image.format in ANIMATED and getattr(image, "n_frames", 1) > 1
        durations = [1000.0]  # a single image is a video of one second
        if moves:
            durations = []
            for number in range(image.n_frames):
                image.seek(number)
                image.load()  # WebP tells an image's duration only then
                durations.append(image.info.get("duration", 0) or 100)  # as browsers show them
        turned = image.getexif().get(0x0112, 1) >= 5  # lies on its side
        size = image.size[::-1] if turned else image.size
        jpeg = _is_plain_jpeg(image)
    ends = np.cumsum(durations) / 1000.0
    return Media(
        path=path,
        num_frames=len(durations),
        fps=len(durations) / float(ends[-1]),
        duration=float(ends[-1]),
        height=size[1],
        width=size[0],
        times=np.concatenate([[0.0], ends[:-1]]),
        jpeg=jpeg,
    )


def read_image_file(media: Media, numbers: list[int], limits: Limits) -> dict[int, np.ndarray]:
    """Number -> image, for ascending numbers."""
    frames = {}
    if media.jpeg:
        pixels = _read_jpeg(paths.read(media.path))
        if pixels is not None:
            return {0: pixels}
    with paths.opened(media.path) as file, _image(file, media.path, limits) as image:
        for number in numbers:
            if number > 0:  # formats of one image need not know how to seek
                image.seek(number)
            frames[number] = rgb(image)
    return frames
