"""Cues: what is planted is found and is gone once removed, and only then; what is absent is not."""

import dataclasses
from typing import ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ssl_jax import cues
from ssl_jax.config import ConfigError
from ssl_jax.cues.bars import borders
from ssl_jax.cues.cue import looks_at, remembered
from ssl_jax.cues.cuts import part
from ssl_jax.cues.frame_timing import Duplicates
from ssl_jax.cues.lens import magnifications, magnified
from ssl_jax.data.image import resize
from ssl_jax.data.record import Record
from ssl_jax.devices.sharding import Sharding
from ssl_jax.evals.shortcuts import Shortcuts
from ssl_jax.frozen import Frozen
from ssl_jax.method import Method
from ssl_jax.models.layers import Conv3D, GroupedConv
from ssl_jax.objectives.classification import classification
from ssl_jax.objectives.contrastive import info_nce

SIZE, FRAMES, FPS, RATE = 48, 12, 12.0, 4800


def smooth_noise(rng: np.random.Generator, h: int, w: int) -> np.ndarray:
    """A grey texture between 40 and 215, uint8 (h, w, 3)."""
    coarse = rng.uniform(size=(h // 4 + 2, w // 4 + 2))
    fine = np.kron(coarse, np.ones((4, 4)))
    for axis in (0, 1):
        fine = (np.roll(fine, 1, axis) + 2 * fine + np.roll(fine, -1, axis)) / 4
    fine = fine[:h, :w] + rng.normal(0, 0.005, (h, w))
    fine = (fine - fine.min()) / np.ptp(fine)
    return np.repeat(np.round(40 + 175 * fine).astype(np.uint8)[..., None], 3, axis=2)


@dataclasses.dataclass(frozen=True)
class Noise:
    """Records of textures that drift, with noise to hear; in half of them a cue is planted.

    The label says in which, if `labelled`; whatever else is seen says nothing about it.
    """

    cue: object
    frames: int = FRAMES
    size: int = 32
    share: float = 0.5
    drift: int = 1

    def __len__(self):
        return self.size

    def __getitem__(self, index):
        rng = np.random.default_rng([7, index])
        texture = smooth_noise(rng, SIZE, SIZE + 2 * self.frames)
        wave = rng.normal(0, 0.1, RATE * 2).astype(np.float32)
        seconds = self.frames / FPS

        def frames(numbers):
            return np.stack(
                [texture[:, k : k + SIZE] for k in (self.drift * np.asarray(numbers)).tolist()]
            )

        def audio(start, stop):
            first = round(start * RATE)
            return wave[first : first + round((stop - start) * RATE)]

        record = Record(
            name=f"noise {index}", index=index, num_frames=self.frames, fps=FPS, frames=frames,
            audio=audio, sample_rate=RATE, duration=seconds,
        )  # fmt: skip
        planted = index % 2 < 2 * self.share
        record = self.cue.plant(record, np.random.default_rng([8, index])) if planted else record
        return dataclasses.replace(record, label=int(planted))


class Rule(nn.Module):
    """No weights: is the number that a function reads in a row above a threshold?"""

    reads: object
    threshold: float

    @nn.compact
    def __call__(self, batch, train):
        self.param("none", nn.initializers.zeros, ())
        x = batch["vision"] if "vision" in batch else batch["audio"]
        seen = jax.vmap(self.reads)(x)
        return jnp.stack([jnp.zeros_like(seen), 100 * (seen - self.threshold)], 1)


@dataclasses.dataclass(frozen=True)
class Cheat(Method):
    """Tells in which records a cue was planted, by a rule that reads nothing else."""

    reads: object
    threshold: float
    sense: str = "vision"
    count: int = FRAMES
    trunks: ClassVar[tuple[str, ...]] = ()

    @property
    def streams(self):
        return {self.sense: (self.sense,)}

    @property
    def net(self):
        return Rule(self.reads, self.threshold)

    def views(self, record, rng):
        target = {"target": np.int32(record.label)}
        if self.sense == "audio":
            wave = record.need_audio()(0.25, 0.75)
            return {"audio": wave, **target}
        numbers = np.linspace(0, record.num_frames - 1, self.count).round().astype(int)
        seen = record.need_frames()(numbers)
        return {"vision": seen, **target}

    def objective(self, outputs, batch):
        return classification(outputs, batch["target"])


def frozen(method, source) -> Frozen:
    batch = {k: v[None] for k, v in method.views(source[0], np.random.default_rng(0)).items()}
    variables = method.init(jax.random.key(0), jax.tree.map(jnp.asarray, batch), len(source))
    mesh = Sharding().mesh()
    return Frozen(method, {**variables, **run()}, mesh, 16)


def run():
    from ssl_jax.method import run_collection

    return run_collection(0, 1)


def audited(method, source, cue, batch_size=8) -> dict[str, float]:
    results = Shortcuts(source, (cue,), batch_size=batch_size).run(frozen(method, source))
    return {name.partition("/")[2]: value for name, value in results}


def fine(image):
    """Energy of differences between neighbours."""
    return jnp.mean(jnp.abs(image[:, 1:] - image[:, :-1]))


def correlation(a, b):
    """Of two rows; 0 if one is constant."""
    a, b = a - jnp.mean(a), b - jnp.mean(b)
    return jnp.sum(a * b) / (jnp.sqrt(jnp.sum(a**2) * jnp.sum(b**2)) + 1e-4)


# What a cheat reads of (t h w 3) or (s), and from which value on it says 'planted'.
READS = {
    "aberration": (cues.Aberration(), lambda x: jnp.mean(jnp.abs(x[..., 0] - x[..., 1])), 0.03),
    "bars": (cues.Bars(), lambda x: -jnp.mean(x[:, :3]), -0.05),
    "camera": (cues.CameraMotion(0.02), lambda x: jnp.mean(jnp.abs(x[0] - x[4])), 0.02),
    "cuts": (cues.Cuts(), lambda x: jnp.max(jnp.mean(jnp.abs(x[1:] - x[:-1]), (1, 2, 3))), 0.25),
    "fades": (cues.Fades(), lambda x: jnp.mean(x[-1]) - jnp.mean(x[0]), 0.15),
    "duplicates": (Duplicates(), lambda x: -jnp.min(jnp.mean(jnp.abs(x[1:] - x[:-1]), (1, 2, 3))),
                   -0.001),
    "key_frames": (cues.KeyFrames(), lambda x: fine(x[4]) - fine(x[5]), 0.0085),
    "jpeg": (cues.JpegGrid(), lambda x: jnp.mean(jnp.abs(x[:, :, 8::8] - x[:, :, 7:-1:8]))
             - jnp.mean(jnp.abs(x[:, :, 12::8] - x[:, :, 11::8])), 0.015),
    "counters": (cues.Counters(), lambda x: jnp.max(x[:, :10, :24]), 0.95),
    "watermark": (cues.Watermark(), lambda x: jnp.std(x[0, -9:, -9:]), 0.2),
    "colours": (cues.ColourHistogram(), lambda x: jnp.std(jnp.mean(x, (0, 1, 2))), 0.02),
}  # fmt: skip


@pytest.mark.parametrize("name", READS)
def test_a_planted_cue_is_found_and_gone_once_removed(name):
    cue, reads, threshold = READS[name]
    # A shot of the record is shorter; and what drifts, the camera follows.
    method = Cheat(reads, threshold, count=6 if name == "cuts" else FRAMES)
    drift = int(name != "camera")
    # Its statistic has many numbers, for which a probe needs rows.
    size = 64 if name == "aberration" else 32
    results = audited(method, Noise(cue, size=size, drift=drift), cue)
    assert results["as_is"] > 0.9
    assert results["excess"] >= 0.3
    assert results["excess_low"] > 0
    assert results["found"] > 0
    if name != "watermark":  # these have a pattern of their own for each record
        assert results["cue_only"] > 0.9
    absent = audited(method, Noise(cue, size=16, share=0, drift=drift), cue)
    assert absent["excess_low"] <= 0 <= absent["excess_high"]


HEARD = {
    "silence": (cues.Silence(), lambda x: jnp.mean(x == 0), 0.2),
    "loudness": (cues.Loudness(), lambda x: -jnp.sqrt(jnp.mean(x[: len(x) // 2] ** 2)) / (
        jnp.sqrt(jnp.mean(x[len(x) // 2 :] ** 2)) + 1e-6), -0.9),
}  # fmt: skip


def test_silence_is_found_and_gone_once_removed():
    cue, reads, threshold = HEARD["silence"]
    results = audited(Cheat(reads, threshold, "audio"), Noise(cue), cue)
    assert results["as_is"] > 0.9
    assert results["excess"] >= 0.3
    assert results["excess_low"] > 0
    assert results["cue_only"] > 0.9


@dataclasses.dataclass(frozen=True)
class Later(Method):
    """Which of two windows of a record comes later, by a rule; every record has the cue."""

    reads: object
    trunks: ClassVar[tuple[str, ...]] = ()

    @property
    def streams(self):
        return {"audio": ("audio",)}

    @property
    def net(self):
        return Rule(lambda pair: self.reads(pair[1]) - self.reads(pair[0]), 0.0)

    def views(self, record, rng):
        first = record.need_audio()
        starts = [0.1, 0.6] if (later := int(rng.integers(2))) else [0.6, 0.1]
        windows = np.stack([first(start, start + 0.25) for start in starts])
        return {"audio": windows, "target": np.int32(later)}

    def objective(self, outputs, batch):
        return classification(outputs, batch["target"])


def test_loudness_is_found_and_gone_once_removed():
    cue = cues.Loudness()
    method = Later(lambda wave: jnp.sqrt(jnp.mean(wave**2)))
    results = audited(method, Noise(cue, share=1), cue)
    assert results["as_is"] == results["control"] == 1
    assert results["excess"] >= 0.3
    assert results["excess_low"] > 0
    assert results["cue_only"] > 0.9
    absent = audited(method, Noise(cue, share=0), cue)
    assert absent["excess_low"] <= 0 <= absent["excess_high"]


@dataclasses.dataclass(frozen=True)
class OnGrid(Method):
    """Does a window start with a frame, or at any time? Heard by the click of every frame."""

    trunks: ClassVar[tuple[str, ...]] = ()

    @property
    def streams(self):
        return {"audio": ("audio",)}

    @property
    def net(self):
        return Rule(lambda wave: jnp.mean(wave[:20]) - jnp.mean(wave[40:100]), 0.35)

    def views(self, record, rng):
        on_grid = int(rng.integers(2))
        frame = int(rng.integers(2, 8)) + (0 if on_grid else rng.uniform(0.2, 0.8))
        start = frame / record.fps
        return {"audio": record.need_audio()(start, start + 0.15), "target": np.int32(on_grid)}

    def objective(self, outputs, batch):
        return classification(outputs, batch["target"])


def test_windows_on_the_grid_of_frames_are_found_and_gone_once_removed():
    results = audited(OnGrid(), Noise(cues.FrameGrid(), share=1), cues.FrameGrid())
    assert results["as_is"] > 0.9
    assert results["control"] > 0.9
    assert results["removed"] < 0.7
    assert results["excess_low"] > 0


@dataclasses.dataclass(frozen=True)
class Tiles(Method):
    """Two halves of an image: was one of them changed, by what `change` does to it? By a rule."""

    reads: object
    threshold: float
    change: object
    enlarged: int = 1
    trunks: ClassVar[tuple[str, ...]] = ("vision",)

    @property
    def net(self):
        return Rule(self.reads, self.threshold)

    def views(self, record, rng):
        target = int(rng.integers(2))
        size = self.enlarged * SIZE
        image = resize(record.need_frames()([0]), (size, size))[0]
        halves = np.stack([image[:, : size // 2], image[:, size // 2 :]])
        return {"vision": self.change(halves) if target else halves, "target": np.int32(target)}

    def objective(self, outputs, batch):
        return classification(outputs, batch["target"])


TILES = {
    "borders": (
        cues.PatchBorders(),
        lambda x: -correlation(x[0, :, -1], x[1, :, 0]), -0.5,
        lambda halves: halves[::-1],
    ),
    "tile_statistics": (
        cues.TileStatistics(),
        lambda x: jnp.mean(x[0]) - jnp.mean(x[1]), 0.3,
        lambda halves: np.stack([halves[0], halves[1] // 4]),
    ),
    "resampling": (
        cues.Resampling(),
        lambda x: jnp.mean(jnp.abs(x[0, 2:] - 2 * x[0, 1:-1] + x[0, :-2])) / jnp.std(x[0]), 0.45,
        lambda halves: np.repeat(np.repeat(halves[:, ::2, ::2], 2, 1), 2, 2)[:, :, : SIZE // 2],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", TILES)
def test_a_cue_of_the_batch_is_found_and_gone_once_removed(name):
    cue, reads, threshold, change = TILES[name]
    source = Noise(cues.Bars(), frames=1, share=0)
    method = Tiles(reads, threshold, change, 2 if name == "borders" else 1)
    results = audited(method, source, cue)
    assert results["as_is"] > 0.8
    assert results["excess"] >= 0.3
    assert results["excess_low"] > 0
    assert results["cue_only"] > 0.8


def test_no_cue_is_the_identity_where_there_is_none():
    record = Noise(cues.Bars(), share=0)[0]
    numbers = np.arange(FRAMES)
    plain = record.frames(numbers)
    for cue in (cues.Bars(), cues.Aberration(), cues.Cuts(), Duplicates()):
        for change in (cue.remove, cue.control):
            changed = change(record, np.random.default_rng(0))
            np.testing.assert_array_equal(changed.frames(numbers), plain, err_msg=cue.name)
    loud = cues.Silence().remove(record, np.random.default_rng(0))
    np.testing.assert_array_equal(loud.audio(0, 0.5), record.audio(0, 0.5))


def test_removal_takes_out_what_was_planted_but_for_resampling():
    record = Noise(cues.Bars(), share=0)[3]
    numbers, rng = np.arange(FRAMES), np.random.default_rng(0)
    plain = record.frames(numbers).astype(float)
    dark = cues.Fades().plant(record, rng)
    even = cues.Fades().remove(dark, rng).frames(numbers)
    assert np.ptp(even.mean((1, 2, 3))) < 1 < 50 < np.ptp(dark.frames(numbers).mean((1, 2, 3)))
    # The lens: what is left is what resampling twice leaves.
    share = 1.5 / (np.hypot(SIZE, SIZE) / 2)
    seen = cues.Aberration(1.5).plant(record, rng)
    back = np.stack([magnified(f[..., 0], 1 / (1 + share) - 1) for f in seen.frames(numbers)])
    removed = cues.Aberration().remove(seen, rng).frames(numbers)
    np.testing.assert_array_equal(removed[..., 1:], record.frames(numbers)[..., 1:])
    assert np.abs(removed[..., 0].astype(float) - back).mean() < 2
    # A pan of one pixel a frame: laid over one another, all frames show the same.
    still = cues.CameraMotion().remove(record, rng).frames(numbers).astype(float)
    assert np.abs(np.diff(still, axis=0)).mean() < 0.25 * np.abs(np.diff(plain, axis=0)).mean()


def test_the_same_audit_twice_is_the_same_to_the_bit():
    cue, reads, threshold = READS["camera"]
    method, source = Cheat(reads, threshold), Noise(cue, size=16, drift=0)
    first, second = (audited(method, source, cue) for _ in range(2))
    picture = first.pop(""), second.pop("")
    np.testing.assert_array_equal(*picture)
    assert first == second


def test_other_batches_of_the_same_records_have_the_same_scores():
    cue, reads, threshold = READS["bars"]
    method, source = Cheat(reads, threshold), Noise(cue, size=32)
    first, second = (audited(method, source, cue, size) for size in (8, 16))
    for name in ("as_is", "removed", "control", "found"):
        assert first[name] == pytest.approx(second[name], abs=1e-6)


@dataclasses.dataclass(frozen=True)
class SameVideo(Method):
    """Which frame of the batch is of the same video? By mean colours alone."""

    trunks: ClassVar[tuple[str, ...]] = ("vision",)
    also_prepared: ClassVar[tuple[str, ...]] = ("other",)

    @property
    def net(self):
        class Colours(nn.Module):
            @nn.compact
            def __call__(self, batch, train):
                self.param("none", nn.initializers.zeros, ())
                return tuple(jnp.mean(batch[k], (1, 2)) for k in ("vision", "other"))

        return Colours()

    def views(self, record, rng):
        frames = record.need_frames()(rng.integers(record.num_frames, size=2))
        return {"vision": frames[0], "other": frames[1]}

    def objective(self, outputs, batch):
        first, second = (1e3 * (x - jnp.mean(x, 1, keepdims=True)) for x in outputs)
        first, second = (x / jnp.linalg.norm(x, axis=1, keepdims=True) for x in (first, second))
        return info_nce(first, second, 0.01)


def test_rows_of_one_video_cannot_be_told_by_its_colours():
    source = Noise(cues.ColourHistogram(), share=1)
    results = audited(SameVideo(), source, cues.VideoIdentity())
    assert results["as_is"] > 0.9
    assert results["control"] > 0.9
    assert results["removed"] < 0.4
    tint = audited(SameVideo(), source, cues.ColourHistogram())
    assert tint["excess"] > 0.3
    assert tint["excess_low"] > 0
    assert tint["cue_only"] > 0.9
    assert tint["cue_only_chance"] == 1 / 8


class Padded(nn.Module):
    """A convolution of ones, whose sums betray zeros beyond the edge."""

    @nn.compact
    def __call__(self, batch, train=False):
        ones = nn.initializers.ones
        x = batch["vision"]
        flat = nn.Conv(2, (3, 3), kernel_init=ones, name="conv")(x)
        grouped = GroupedConv(2, 3, padding=1, kernel_init=ones, name="grouped")(x)
        deep = Conv3D(2, kernel_init=ones, name="deep")(jnp.stack([x, x, x], 1))[:, 1]
        return flat, grouped, deep


@pytest.mark.parametrize("way", ["as_is", "remove", "control"])
def test_convolutions_see_no_edge_but_where_zeros_lie_beyond_it(way):
    @dataclasses.dataclass(frozen=True)
    class Convolved(Method):
        net: ClassVar = Padded()

        def views(self, record, rng): ...

        def objective(self, outputs, batch): ...

    flat = {"vision": jnp.ones((1, 6, 6, 2))}
    variables = Padded().init(jax.random.key(0), flat)
    altered = getattr(cues.ZeroPadding(), way)(Convolved())
    outputs, _ = altered.outputs(variables["params"], {}, flat, jax.random.key(0), train=False)
    for x, inside in zip(outputs, (18, 18, 54), strict=True):
        edge = np.unique(np.asarray(x[:, 0]))
        assert x[0, 3, 3, 0] == inside
        assert (edge != inside).any() if way == "as_is" else (edge == inside).all()


def test_mirrored_padding_is_that_of_numpy():
    x = np.random.default_rng(0).normal(size=(1, 5, 7, 2)).astype(np.float32)

    @dataclasses.dataclass(frozen=True)
    class Convolved(Method):
        net: ClassVar = nn.Conv(3, (5, 3), strides=2)

        def views(self, record, rng): ...

        def objective(self, outputs, batch): ...

        def outputs(self, params, state, batch, key, train=True):
            return self.net.apply({"params": params}, batch["vision"]), state

    params = Convolved.net.init(jax.random.key(0), x)["params"]
    altered = cues.ZeroPadding().remove(Convolved())
    outputs, _ = altered.outputs(
        params, {}, {"vision": jnp.asarray(x)}, jax.random.key(0), train=False
    )
    # SAME with stride 2: 5 -> 3 takes (2, 2) rows, 7 -> 4 takes (1, 1) columns.
    wide = np.pad(x, ((0, 0), (2, 2), (1, 1), (0, 0)), mode="symmetric")
    plain = nn.Conv(3, (5, 3), strides=2, padding="VALID").apply({"params": params}, wide)
    np.testing.assert_allclose(outputs, plain, rtol=1e-5, atol=1e-6)


def test_batch_norm_of_the_batch_of_the_running_statistics_and_of_both():
    class Normed(nn.Module):
        @nn.compact
        def __call__(self, batch, train):
            norm = nn.BatchNorm(use_running_average=not train, name="norm")
            return nn.Dropout(0.5, deterministic=not train)(norm(batch["x"]))

    @dataclasses.dataclass(frozen=True)
    class One(Method):
        net: ClassVar = Normed()

        def views(self, record, rng): ...

        def objective(self, outputs, batch): ...

    x = jnp.asarray(np.random.default_rng(0).normal(3, 2, (8, 4)), jnp.float32)
    batch = {"x": x}
    made = Normed().init({"params": jax.random.key(0)}, batch, False)
    made["params"]["norm"]["scale"] = jnp.arange(1.0, 5.0)
    made["params"]["norm"]["bias"] = jnp.ones(4)
    cue, state = cues.BatchNormLeak(), {"batch_stats": made["batch_stats"]}
    seen = {}
    for way in ("as_is", "remove", "control"):
        method = getattr(cue, way)(One())
        seen[way], kept = method.outputs(
            made["params"], state, batch, jax.random.key(0), train=False
        )
        jax.tree.map(np.testing.assert_array_equal, kept, state)
    scale = np.arange(1, 5)
    own = (x - x.mean(0)) / np.sqrt(x.var(0) + 1e-5) * scale + 1
    running = x / np.sqrt(1 + 1e-5) * scale + 1
    np.testing.assert_allclose(seen["as_is"], own, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(seen["remove"], running, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(seen["control"], (own + running) / 2, rtol=1e-4, atol=1e-4)


def test_borders_are_those_that_are_dark_in_all_frames():
    image = np.full((1, 8, 8, 3), 100, np.uint8)
    image[:, :2], image[:, -1] = 3, 3
    assert borders(image, 16.0) == (2, 1, 0, 0)
    bright_once = np.concatenate([image, image])
    bright_once[1, 1] = 200
    assert borders(bright_once, 16.0) == (1, 1, 0, 0)
    assert borders(np.zeros((1, 8, 8, 3), np.uint8), 16.0) == (0, 0, 0, 0)


def test_a_magnified_plane_moves_in_proportion_to_the_radius():
    ramp = np.repeat(10 * np.arange(9, dtype=np.uint8)[None] + 20, 9, axis=0)
    moved = magnified(ramp, 1 / 4).astype(int) - ramp
    np.testing.assert_array_equal(moved[4], [8, 6, 4, 2, 0, -2, -4, -6, -8])


def test_the_lens_is_measured_as_it_was_planted():
    record = Noise(cues.Bars(), share=0)[0]
    for pixels in (0.7, 1.5):
        planted = cues.Aberration(pixels).plant(record, np.random.default_rng(0))
        red, blue = magnifications(looks_at(planted))
        assert red == pytest.approx(pixels / (np.hypot(SIZE, SIZE) / 2), rel=0.15)
        assert blue == 0


def test_part_of_a_record_has_its_own_frames_times_and_audio():
    record = Noise(cues.Bars(), share=0)[0]
    record = dataclasses.replace(record, times=np.arange(FRAMES) / FPS + 0.0)
    short = part(record, 3, 9)
    np.testing.assert_array_equal(short.frames([0, 5]), record.frames([3, 8]))
    np.testing.assert_array_equal(short.audio(0, 0.25), record.audio(0.25, 0.5))
    assert (short.num_frames, short.duration) == (6, pytest.approx(0.5))
    assert short.time_of(5) == pytest.approx(5 / FPS)


def test_a_cue_of_ones_own_is_audited_like_the_others():
    @dataclasses.dataclass(frozen=True)
    class Mirror:
        """Which side is which: a record is mirrored, or in the control turned upside down."""

        name: ClassVar[str] = "mirror"
        level: ClassVar[str] = "record"
        sense: ClassVar[str] = "vision"

        def applies(self, method, record, batch):
            return True

        def remove(self, record, rng):
            return dataclasses.replace(record, frames=lambda n: record.frames(n)[:, :, ::-1])

        def control(self, record, rng):
            return dataclasses.replace(record, frames=lambda n: record.frames(n)[:, ::-1])

        def plant(self, record, rng):
            def frames(numbers):
                seen = record.frames(numbers).copy()
                seen[:, :, :4] = 255
                return seen

            return dataclasses.replace(record, frames=frames)

    method = Cheat(lambda x: jnp.mean(x[:, :, :4]), 0.9)
    results = audited(method, Noise(Mirror()), Mirror())
    assert results["excess"] == 0.5
    assert results["reliance"] == pytest.approx(0.5 / (1 - results["chance"]))


def test_small_things_on_black_have_no_bars_and_small_images_no_errors():
    dark = np.zeros((1, 28, 28, 3), np.uint8)
    dark[:, 13:15, 12:16] = 200
    record = dataclasses.replace(
        Noise(cues.Bars(), frames=1, share=0)[0], frames=lambda numbers: dark
    )
    tiny = dataclasses.replace(record, frames=lambda numbers: dark[:, 10:18, 10:18])
    np.testing.assert_array_equal(
        cues.Bars().remove(record, np.random.default_rng(0)).frames([0]), dark
    )
    for cue in cues.ALL:
        if cue.level == "record" and cue.sense == "vision":
            for one in (record, tiny):
                for change in (cue.remove, cue.control):
                    before = one.frames([0]).shape
                    assert change(one, np.random.default_rng(0)).frames([0]).shape == before


def test_other_cameras_are_changed_like_the_first():
    record = Noise(cues.Bars(), share=0)[0]
    record = dataclasses.replace(record, extra={"views": (record.frames,)})
    rng = np.random.default_rng(0)
    barred = cues.Bars().plant(record, rng)
    (view,) = cues.Bars().remove(barred, rng).extra["views"]
    np.testing.assert_array_equal(view([2, 5]), cues.Bars().remove(barred, rng).frames([2, 5]))
    assert not np.array_equal(view([2]), barred.frames([2]))
    (view,) = part(record, 3, 9).extra["views"]
    np.testing.assert_array_equal(view([1]), record.frames([4]))


def test_a_cue_that_cannot_be_removed_costs_no_other_its_numbers(caplog):
    # The method takes twelve frames, the longest shot has six.
    cue, reads, threshold = READS["bars"]

    @dataclasses.dataclass(frozen=True)
    class Twelve(Cheat):
        def views(self, record, rng):
            record.need_frames(FRAMES)
            return super().views(record, rng)

    source = Noise(cues.Cuts(), size=16, share=1)
    method = Twelve(reads, threshold)
    audit = Shortcuts(source, (cues.Cuts(), cue), batch_size=8)
    names = {name.partition("/")[0] for name, _ in audit.run(frozen(method, source))}
    assert names == {"bars"}
    assert "cuts is skipped" in caplog.text
    with pytest.raises(ConfigError, match="none of the cues could be measured"):
        list(dataclasses.replace(audit, cues=(cues.Cuts(),)).run(frozen(method, source)))


def test_decoded_frames_are_kept_within_bounds():
    record, decoded = Noise(cues.Bars(), frames=600, share=0)[0], []

    def frames(numbers):
        decoded.extend(numbers)
        return (np.asarray(numbers) % 256).astype(np.uint8).reshape(-1, 1, 1, 1).repeat(3, 3)

    kept = remembered(dataclasses.replace(record, frames=frames))
    for numbers in ([3, 1, 3], [1, 3], range(600), [599, 0]):
        expected = np.asarray(numbers) % 256
        np.testing.assert_array_equal(kept.frames(numbers)[:, 0, 0, 0], expected)
    assert decoded[:2] == [1, 3]
    assert len(decoded) == 2 + 600 + 2
