"""Teacher and student: what would a network for images say of what is seen while this is heard?

SoundNet (Aytar, Vondrick and Torralba, "SoundNet: Learning Sound Representations from Unlabeled
Video", NeurIPS 2016)."""

import dataclasses
from collections.abc import Sequence
from typing import ClassVar

import flax.linen as nn
import jax
import numpy as np

from ssl_jax.config import ConfigError
from ssl_jax.data.matched_audio import audio_at
from ssl_jax.data.record import MediaError, Record
from ssl_jax.data.sampling import even_times
from ssl_jax.data.soft_labels_file import soft_classes, soft_labels_of
from ssl_jax.knobs import above, at_least, one_of
from ssl_jax.method import Batch, Example, Method
from ssl_jax.models.heads import last
from ssl_jax.models.soundnet import SoundHead
from ssl_jax.objectives.soft_labels import WEIGHTINGS, divergence


class TeacherStudentNet(nn.Module):
    """The audio trunk, and for each teacher a head: logits (b n k) of n segments."""

    audio: nn.Module
    classes: tuple[int, ...]
    head: tuple[int, int, int]

    @nn.compact
    def __call__(self, batch: Batch, train: bool) -> dict[str, jax.Array]:
        x = last(self.audio(batch["audio"], train))
        kernel, _, padding = self.head
        if x.shape[1] + 2 * padding < kernel:
            raise ConfigError(
                f"the trunk leaves {x.shape[1]} steps of the audio, fewer than the {kernel} of a "
                "head: raise seconds or lower head"
            )
        return {
            f"teacher{number}": SoundHead(k, *self.head, name=f"teacher{number}")(x)
            for number, k in enumerate(self.classes, start=1)
        }


@dataclasses.dataclass(frozen=True)
class TeacherStudent(Method):
    """Learns from audio alone what teachers said of the video's frames.

    Teachers are frozen and have said it before: their probabilities for each segment of each record
    lie in files, `soft_labels`. From a trained run of this library, by a linear probe of it,

        python -m ssl_jax.soft_labels --config=THIS_CONFIG --workdir=RUN_OF_THE_TEACHER

    writes one; from any function of frames, `ssl_jax.soft_labels.write_of`. How many classes there
    are, and how many segments, is read from them.

    Shortcut: none is in the puzzle; what can be learnt is all that audio tells of what is seen, be
    it only that a video has music. Labels of other records, `control=("teacher1/target",)`, must
    teach nothing.

    Differs from the paper: only the first `seconds` of a record are heard. A shorter one is
    repeated, and its labels with it, as in the paper; but audio that ends before its video is
    repeated too, not followed by silence.

    Batch: views {"audio": float32 (s), "teacher1/target": float32 (n k), "teacher2/target": ...},
    n segments one after another; augment the same with a leading b.

    Attributes:
      audio: the trunk, whose last layer has steps of time (b t c).
      soft_labels: files, one for each teacher; () takes the records' own labels as the one teacher.
        A file is of one source, in its order: on others `Pretext` has no labels.
      classes: number of labels, with () only.
      head: kernel, stride and padding of the heads in steps of the trunk's last layer; SoundNet's 5
        layers: (16, 12, 4). There must be as many outputs as segments.
      weighting: of the divergence, 'elements' (the authors') or 'segments'; see
        `objectives.soft_labels`.
      factor: of the loss; the authors' 250 goes with 'elements'.
      seconds, sample_rate: of the audio; audio of another rate is resampled.
      scale: samples of -1..1 become so large; the authors' networks hear 256.
    """

    audio: nn.Module
    soft_labels: tuple[str, ...] = ()
    classes: int = 0
    head: tuple[int, int, int] = (8, 2, 0)
    weighting: str = "elements"
    factor: float = 250.0
    seconds: float = 20.0
    sample_rate: int = 22050
    scale: float = 256.0

    trunks: ClassVar[tuple[str, ...]] = ("audio",)

    def __post_init__(self):
        at_least(self, 1, "sample_rate")
        above(self, 0, "seconds", "factor", "scale")
        one_of(self, "weighting", WEIGHTINGS)
        at_least(self, 0, "classes", "head")
        kernel, stride, _ = self.head
        if min(kernel, stride) < 1:
            raise ConfigError(f"head={self.head}: a kernel and a stride of 1 or more, a padding")
        if bool(self.soft_labels) == bool(self.classes):
            raise ConfigError("give soft_labels, or with none the number of classes of the labels")

    @property
    def net(self) -> nn.Module:
        known = tuple(soft_classes(path) for path in self.soft_labels) or (self.classes,)
        return TeacherStudentNet(self.audio, known, self.head)

    @property
    def segments(self) -> int:
        """For how many stretches of the audio the network answers."""
        net = TeacherStudentNet(self.audio, (1,), self.head)
        wave = jax.ShapeDtypeStruct((1, round(self.seconds * self.sample_rate)), np.float32)
        made = jax.eval_shape(
            lambda x: net.init_with_output(jax.random.key(0), {"audio": x}, False)[0], wave
        )
        return made["teacher1"].shape[1]

    def segment_times(self, record: Record, count: int) -> list[float]:
        """Seconds of the record in the middle of each of `count` segments of its repeated audio."""
        begin, end = record.audible
        there = min(self.seconds, end - begin)
        middles = (np.arange(count) + 0.5) * self.seconds / count
        return (begin + middles % there).tolist()

    def views(self, record: Record, rng: np.random.Generator) -> Example:
        begin = record.audible[0]
        return {"audio": self._wave(record, begin), **self._targets(record)}

    def _targets(self, record: Record) -> Example:
        if self.soft_labels:
            files = enumerate(self.soft_labels, start=1)
            return {f"teacher{k}/target": soft_labels_of(path, record) for k, path in files}
        if not 0 <= record.label < self.classes:
            raise MediaError(
                f"{record.name}: label {record.label} is not one of classes={self.classes}"
            )
        own = np.eye(self.classes, dtype=np.float32)[record.label]
        return {"teacher1/target": own[None]}

    def _wave(self, record: Record, start: float) -> np.ndarray:
        """`seconds` of audio; what there is from `start` on, again and again if it is less."""
        there = min(self.seconds, record.audible[1] - start)
        wave = audio_at(record, start, there, self.sample_rate)
        return np.resize(wave, round(self.seconds * self.sample_rate))

    def prepare(self, name: str, x: jax.Array) -> jax.Array:
        return self.scale * x

    def objective(self, outputs: dict[str, jax.Array], batch: Batch):
        targets = {name: batch[f"{name}/target"] for name in outputs}
        for name, target in targets.items():
            if outputs[name].shape != target.shape:
                raise ConfigError(
                    f"{name}: {target.shape[1]} segments a record, the network answers for "
                    f"{outputs[name].shape[1]}: change head or seconds"
                )
        return divergence(outputs, targets, self.weighting, self.factor)

    def pictures(self, batch: Batch) -> Batch:
        return {"audio": batch["audio"]}

    def words(self, batch: Batch) -> dict[str, list[str]]:
        """The likeliest class of each teacher in the first segment, and how likely it is."""
        names = [name for name in batch if name.endswith("/target")]
        first = {name: np.asarray(batch[name])[:, 0] for name in names}
        return {
            name.removesuffix("/target"): [f"class {p.argmax()}: {p.max():.2f}" for p in rows]
            for name, rows in first.items()
        }

    def times(self, record: Record, stream: str, count: int) -> Sequence[float]:
        begin, end = record.audible
        return even_times(end, min(self.seconds, end - begin), count, begin=begin)

    def encode(self, variables: dict, stream: str, inputs: Batch) -> dict[str, jax.Array]:
        # Without the heads, whose widths are known from the files of soft labels alone.
        own = {name: tree[stream] for name, tree in variables.items() if stream in tree}
        return self.audio.apply(own, self.inputs(inputs)[stream], False)

    def clips(self, record: Record, stream: str, times: Sequence[float]) -> Example:
        """The audio that begins at each time."""
        return {"audio": np.stack([self._wave(record, time) for time in times])}
