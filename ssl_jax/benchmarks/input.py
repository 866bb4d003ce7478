"""Speed of the input engine: reading videos, images and shards, and making batches.

Videos and images are written to a temporary folder.
"""

import dataclasses
import importlib.util
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from fractions import Fraction

import numpy as np

from ssl_jax.benchmarks.turns import typical
from ssl_jax.data import decode, videos
from ssl_jax.data.image import resize
from ssl_jax.data.media import VideoIndex
from ssl_jax.data.pipeline import Loading, train_batches, train_dataset
from ssl_jax.data.record import Record
from ssl_jax.data.sources.folder import FolderSource

Rows = Iterator[tuple[str, float]]


@dataclasses.dataclass(frozen=True)
class Input:
    """Ratios of speeds (higher is better) unless a row says otherwise.

    Attributes:
      videos: number of videos.
      frames: of each.
      height, width: of videos and images, in pixels.
      images: number of images.
      batches: of the decoded source, in each turn.
      long: batches over which the memory is watched.
      turns: each side of a comparison runs so often, those of the pipeline, which are short, twice
        as often; the median counts.
    """

    videos: int = 8
    frames: int = 300
    height: int = 240
    width: int = 320
    images: int = 200
    batches: int = 200
    long: int = 10_000
    turns: int = 5

    def rows(self) -> Rows:
        """Names and numbers."""
        with tempfile.TemporaryDirectory() as folder:
            write_videos(folder, self)
            yield from _videos(FolderSource(folder, kinds=("video",)), self)
            write_images(folder, self)
            yield from _images(FolderSource(folder, kinds=("image",)), self)
        with tempfile.TemporaryDirectory() as folder:
            yield from _shards(folder, self)
        yield from _pipeline(self)
        yield from _memory(self)


KEY_EVERY = 12  # frames from one key frame to the next, as in videos prepared for random access
CLIP = 16
SIZE = (112, 112)


def _videos(source: FolderSource, sizes: Input) -> Rows:
    records = [source[i] for i in range(len(source))]

    def ours():
        for record in records:
            resize(record.frames(range(record.num_frames)), SIZE)

    def bare():
        import av
        import cv2

        for record in records:
            with av.open(record.extra["path"]) as container:
                container.streams.video[0].codec_context.thread_count = 1
                for frame in container.decode(video=0):
                    pixels = frame.to_ndarray(format="rgb24")
                    cv2.resize(pixels, SIZE[::-1], interpolation=cv2.INTER_AREA)

    fast, plain = typical(sizes.turns, ours, bare)
    yield "folder: whole videos, against a bare PyAV loop", plain / fast
    decoded, needed = 0, 0
    rng = np.random.default_rng(0)
    for record in records:
        numbers = np.sort(rng.choice(record.num_frames, CLIP, replace=False))
        index = decode.probe(record.extra["path"]).video_index
        decoded += count_decoded(record, numbers)
        needed += demanded(index, numbers)
    yield (
        f"folder: frames decoded for {CLIP} of {sizes.frames}, against what key frames demand",
        (decoded / needed),
    )


def count_decoded(record: Record, numbers: np.ndarray) -> int:
    """How many packets reach the decoder for these frames."""
    count, original = 0, videos.decode

    def counting(packets, stream, wanted):
        def counted():
            nonlocal count
            for packet in packets:
                count += 1
                yield packet

        return original(counted(), stream, wanted)

    videos.decode = counting
    try:
        record.frames(numbers)
    finally:
        videos.decode = original
    return count


def demanded(index: VideoIndex, numbers: np.ndarray) -> int:
    """Frames from the key frame before each wanted frame on, shared ones counted once."""
    pts = index.pts[numbers]
    keys = np.searchsorted(index.keys, pts, side="right") - 1
    total = 0
    for key in np.unique(keys):
        first = np.searchsorted(index.pts, index.keys[key])
        total += int(numbers[keys == key].max() - first) + 1
    return total


def _images(source: FolderSource, sizes: Input) -> Rows:
    records = [source[i] for i in range(len(source))]

    def ours():
        for record in records:
            resize(record.frames([0]), SIZE)

    def pillow():
        import cv2
        from PIL import Image

        for record in records:
            with Image.open(record.extra["path"]) as image:
                pixels = np.array(image)
            cv2.resize(pixels, SIZE[::-1], interpolation=cv2.INTER_AREA)

    def turbo():
        import cv2
        import simplejpeg

        for record in records:
            with open(record.extra["path"], "rb") as file:
                pixels = simplejpeg.decode_jpeg(file.read(), "RGB")
            cv2.resize(pixels, SIZE[::-1], interpolation=cv2.INTER_AREA)

    fast, plain, faster = typical(sizes.turns, ours, pillow, turbo)
    yield "folder: images, against a bare loop of Pillow", plain / fast
    yield "folder: images, against a bare loop of libjpeg-turbo", faster / fast


@dataclasses.dataclass(frozen=True)
class _Clip:
    """Some frames in a row, small; a class, so that worker processes can unpickle it."""

    def __call__(self, record: Record, rng: np.random.Generator) -> dict:
        frames = record.need_frames(CLIP)
        first = int(rng.integers(record.num_frames - CLIP + 1))
        return {"vision": resize(frames(range(first, first + CLIP)), SIZE)}


def _shards(folder: str, sizes: Input) -> Rows:
    if importlib.util.find_spec("apache_beam") is None:
        print("shards: not measured, they need pip install 'ssl_jax[prepare]'", file=sys.stderr)
        return
    from ssl_jax.data.shards import Options
    from ssl_jax.data.sources.array_record import ArrayRecordSource
    from ssl_jax.prepare import prepare

    videos, shards = os.path.join(folder, "videos"), os.path.join(folder, "shards")
    os.mkdir(videos)
    write_videos(videos, sizes, key_every=250)  # as encoders do unless told otherwise
    prepare(videos, shards, options=Options(whole=True))
    prepared, plain = (
        _clips_per_second(source, max(1, sizes.batches // 5))
        for source in (ArrayRecordSource((shards,)), FolderSource(videos))
    )
    yield "shards: clips per second from two processes, against the folder", prepared / plain


def _clips_per_second(source, batches: int) -> float:
    """Of two worker processes, whose start and what they made ahead by then are not counted."""
    rows = 4
    loading = Loading(threads=2, prefetch=2, workers=2)
    feed = train_batches(train_dataset(source, _Clip(), rows, seed=0), loading)
    try:
        for _ in range(12):
            next(feed)
        begin = time.perf_counter()
        for _ in range(batches):
            next(feed)
        return batches * rows / (time.perf_counter() - begin)
    finally:
        feed.close()


@dataclasses.dataclass(frozen=True, eq=False)
class DecodedSource:
    """Images that lie in memory."""

    images: np.ndarray

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Record:
        images = self.images
        return Record(
            name=f"image {index}",
            index=index,
            num_frames=1,
            fps=1.0,
            frames=lambda numbers: images[index : index + 1],
        )


def _view(record: Record, rng: np.random.Generator) -> dict:
    return {"vision": record.need_frames()([0])[0]}


ROWS = 256


def _decoded() -> DecodedSource:
    rng = np.random.default_rng(0)
    return DecodedSource(rng.integers(0, 256, (50_000, 32, 32, 3), dtype=np.uint8))


def _pipeline(sizes: Input) -> Rows:
    source, rng = _decoded(), np.random.default_rng(0)
    batches = train_batches(train_dataset(source, _view, ROWS, seed=0), Loading())
    for _ in range(50):  # until what was prefetched before the clock started is used up
        next(batches)

    def ours():
        for _ in range(sizes.batches):
            next(batches)
        time.sleep(0.1)  # costs nothing, but what is made meanwhile for the next turn counts

    def same_work():
        for _ in range(sizes.batches):
            numbers = rng.integers(0, len(source), ROWS)
            rows = [_view(source[number], rng)["vision"] for number in numbers.tolist()]
            np.stack(rows)

    def copies():
        batch = np.empty((ROWS, *source.images.shape[1:]), np.uint8)
        for _ in range(sizes.batches):
            for row, number in enumerate(rng.integers(0, len(source), ROWS).tolist()):
                batch[row] = source.images[number]

    fast, plain, bare = typical(2 * sizes.turns, ours, same_work, copies)
    batches.close()
    yield "pipeline: overhead over a loop of the same views (share of its time)", fast / plain - 1
    yield "pipeline: its time in units of a loop that only copies the images", fast / bare
    yield "pipeline: images of 32x32 per second of a core", sizes.batches * ROWS / fast


def _memory(sizes: Input) -> Rows:
    batches = train_batches(train_dataset(_decoded(), _view, ROWS, seed=0), Loading())
    for _ in range(max(1, sizes.long // 10)):
        next(batches)
    before = resident()
    for _ in range(sizes.long - sizes.long // 10):
        next(batches)
    grown = resident() - before
    batches.close()
    yield f"pipeline: growth of memory over {sizes.long} batches (MiB)", grown / 2**20


def resident() -> int:
    """Bytes of this process in memory."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def scene(sizes: Input, seed: int) -> Callable[[int], np.ndarray]:
    """A function from a frame's number to its image: blobs that drift, with a little grain."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (12, 16, 3), dtype=np.uint8)
    grain = rng.integers(0, 12, (sizes.height, sizes.width, 3), dtype=np.uint8)
    ground = resize(coarse[None], (sizes.height, sizes.width))[0] // 2 + grain

    def draw(number: int) -> np.ndarray:
        return np.roll(ground, 3 * number, axis=1)

    return draw


def write_videos(folder: str, sizes: Input, key_every: int = KEY_EVERY) -> None:
    """H.264 at 25 frames a second, with B-frames."""
    import av

    for number in range(sizes.videos):
        draw = scene(sizes, number)
        with av.open(os.path.join(folder, f"{number}.mp4"), "w") as container:
            options = {"g": str(key_every), "bf": "2", "preset": "veryfast"}
            stream = container.add_stream("libx264", rate=25, options=options)
            stream.height, stream.width, stream.pix_fmt = sizes.height, sizes.width, "yuv420p"
            for i in range(sizes.frames):
                frame = av.VideoFrame.from_ndarray(draw(i), format="rgb24")
                frame.pts, frame.time_base = i, Fraction(1, 25)
                container.mux(stream.encode(frame))
            container.mux(stream.encode(None))


def write_images(folder: str, sizes: Input) -> None:
    """JPEGs."""
    from PIL import Image

    for number in range(sizes.images):
        pixels = Image.fromarray(scene(sizes, number)(number))
        pixels.save(os.path.join(folder, f"{number}.jpg"), quality=90)
