"""Pictures inside a page, as data URIs."""

import base64
import io

from PIL import Image

LARGEST = 1_000_000  # bytes of a picture as it is
ALL = 6_000_000  # bytes of all pictures of a page


def data_uri(path: str, largest: int = LARGEST) -> str:
    """A PNG as it is; as JPEG if it is larger than that, and smaller until it fits."""
    with open(path, "rb") as file:
        data, kind = file.read(), "png"
    if len(data) > largest:
        with Image.open(path) as opened:
            picture, kind = opened.convert("RGB"), "jpeg"
        data = _jpeg(picture)
        while len(data) > largest and min(picture.size) > 1:
            picture = picture.resize([max(1, side * 3 // 4) for side in picture.size])
            data = _jpeg(picture)
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"


def share(count: int) -> int:
    """How large each of so many pictures may be for all to fit."""
    return min(LARGEST, ALL // max(count, 1))


def _jpeg(picture: Image.Image) -> bytes:
    out = io.BytesIO()
    picture.save(out, "JPEG", quality=85)
    return out.getvalue()
