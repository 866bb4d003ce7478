"""Image files, read by Pillow and libjpeg-turbo; several images in one file are a video."""

import contextlib
import io
import struct
import threading
from collections.abc import Iterator

import numpy as np
from jaxtyping import UInt8

from ssl_jax.data import deep_images, paths
from ssl_jax.data.media import Limits, Media, check_size, errors_name

DEFAULT_LIMITS = Limits()
PILLOWS_LIMIT = threading.Lock()  # held while a GIF's reader is asked without it
WIDTH, HEIGHT = 256, 257  # tags of TIFF, before it is turned upright
ANIMATED = ("AVIF", "GIF", "PNG", "WEBP")  # whose several images are a video


def rgb(image) -> UInt8[np.ndarray, "h w 3"]:
    """A Pillow image as it should be seen: upright, on white, eight bits a channel."""
    from PIL import Image, ImageOps

    orientation = image.getexif()
    if deep_images.is_deep(image):  # Pillow would clip it at 255
        image = Image.fromarray(deep_images.to_bytes(image))
        image.getexif().update(orientation)
    if orientation.get(0x0112, 1) != 1:
        image = ImageOps.exif_transpose(image)
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return np.array(image if image.mode == "RGB" else image.convert("RGB"))


def decode_image(
    name: str, data: bytes, limits: Limits = DEFAULT_LIMITS
) -> UInt8[np.ndarray, "h w 3"]:
    """An encoded image (JPEG, PNG, ...) from memory. MediaError with `name` if it is broken."""
    with errors_name(name), opened_image(io.BytesIO(data), name, limits, to_read=True) as image:
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
def opened_image(file, name: str, limits: Limits, to_read: bool = False) -> Iterator:
    """A Pillow image of a size that `limits` allows; `to_read` if its pixels will be asked for.

    Image.open would warn or refuse by a limit of its own, which is one variable for the whole
    process and so the user's, not ours. Its readers are asked without it.
    """
    from PIL import Image

    image = _identified(file, name, limits)
    check_size(name, image.width, image.height, limits)
    if to_read and image.format == "TIFF":  # whose reader has that limit again, for memory it makes
        image.im = Image.core.new(image.mode, (image.tag_v2[WIDTH], image.tag_v2[HEIGHT]))
    if to_read and image.format == "PNG":  # whose checksums Pillow would pass over
        image.verify()
        image = _identified(file, name, limits)
    with image:
        yield image


def _identified(file, name: str, limits: Limits):
    """The image of the first of Pillow's readers that knows the file, its pixels not yet read."""
    from PIL import Image

    Image.preinit()  # the common formats come first
    Image.init()
    file.seek(0)
    head = file.read(16)
    for format_name in tuple(Image.ID):
        reader, accepts = Image.OPEN[format_name]
        known = accepts is None or accepts(head)
        if isinstance(known, str) or not known:  # a text says what is missing to read it
            continue
        with contextlib.suppress(SyntaxError, IndexError, TypeError, struct.error):  # not this one
            size = struct.unpack_from("<HH", head, 6) if format_name == "GIF" else (0, 0)
            check_size(name, *size, limits)
            file.seek(0)
            with _without_pillows_limit(size, limits):
                return reader(file, "")
    raise Image.UnidentifiedImageError("no image of a known format")


def _seek(image, number: int, name: str, limits: Limits) -> None:
    """Reads an image of several. In a GIF it may be larger than the first, which `limits` rules."""
    with _without_pillows_limit(_gif_size(image), limits):
        image.seek(number)
        check_size(name, image.width, image.height, limits)
        image.load()


def _gif_size(image) -> tuple[int, int]:
    return image.size if image.format == "GIF" else (0, 0)


@contextlib.contextmanager
def _without_pillows_limit(gif: tuple[int, int], limits: Limits) -> Iterator[None]:
    """For a GIF of this size, whose reader asks for Pillow's limit again to clear images.

    Only where that would refuse what `limits` allows, it is out of the way for a moment.
    """
    from PIL import Image

    with PILLOWS_LIMIT:
        theirs = Image.MAX_IMAGE_PIXELS
        if theirs and gif[0] * gif[1] > theirs:
            Image.MAX_IMAGE_PIXELS = limits.pixels
            try:
                yield
            finally:
                Image.MAX_IMAGE_PIXELS = theirs
            return
    yield


def probe_image_file(path: str, limits: Limits) -> Media:
    """What a file of one or several images holds."""
    with paths.opened(path) as file, opened_image(file, path, limits) as image:
        with _without_pillows_limit(_gif_size(image), limits):
            moves = image.format in ANIMATED and getattr(image, "n_frames", 1) > 1
        durations = [1000.0]  # a single image is a video of one second
        if moves:
            durations = []
            for number in range(image.n_frames):
                _seek(image, number, path, limits)  # WebP tells a duration only of a read image
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
    with (
        paths.opened(media.path) as file,
        opened_image(file, media.path, limits, to_read=True) as image,
    ):
        for number in numbers:
            if number > 0:  # formats of one image need not know how to seek
                _seek(image, number, media.path, limits)
            frames[number] = rgb(image)
    return frames
