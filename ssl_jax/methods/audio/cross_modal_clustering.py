"""Clustering across modalities: in which cluster of sounds is this clip, and the other way round?

Alwassel, Mahajan, Korbar, Torresani, Ghanem and Tran, "Self-Supervised Learning by Cross-Modal
Audio-Video Clustering", NeurIPS 2020 (XDC, and SDC, MDC, CDC)."""

import dataclasses
from collections.abc import Sequence
from typing import ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from ssl_jax.data.chosen import Chosen
from ssl_jax.data.matched_audio import audio_at
from ssl_jax.data.record import Record, Source
from ssl_jax.data.sampling import clip_with_sound, even_times
from ssl_jax.data.squares import clip_squares_at
from ssl_jax.knobs import above, at_least, no_larger, one_of
from ssl_jax.method import Batch, Example, Method, Refreshed, State
from ssl_jax.models.clustering_heads import ClusteringNet, new_head
from ssl_jax.objectives.classification import classification_of_known
from ssl_jax.ops.augment import random_crop, random_flip
from ssl_jax.ops.vmz_log_mel import vmz_log_mel
from ssl_jax.solvers.probe import unit
from ssl_jax.solvers.whitening import whitened

# Which labels feed which head: encoder -> what its heads predict the clusters of, a head for each.
LABELS = {
    "sdc": {"vision": ("vision",), "audio": ("audio",)},
    "mdc": {"vision": ("vision", "audio"), "audio": ("audio", "vision")},
    "cdc": {"vision": ("both",), "audio": ("both",)},
    "xdc": {"vision": ("audio",), "audio": ("vision",)},
}


def heads(mode: str) -> dict[str, tuple[str, str]]:
    """Head -> its encoder, and what it predicts the clusters of: {'vision_from_audio': ...}."""
    table = LABELS[mode].items()
    return {f"{own}_from_{of}": (own, of) for own, others in table for of in others}


@dataclasses.dataclass(frozen=True)
class CrossModalClustering(Method):
    """Learns clusters of features as classes; of which features is the whole difference (LABELS).

    Between steps the features of all records are clustered by k-means, those of the random trunks
    before step 1. With 'sdc' each trunk learns its own clusters (DeepCluster), with 'mdc' its own
    and the other's, with 'cdc' those of both features side by side, with 'xdc' the other's alone.
    With each clustering the heads are drawn again and their moments are 0; the trunks go on.

    New clusters are made each time `refresh` is called (the experiment's `refresh_every`); or, with
    `held_out`, only if the loss there has not fallen for `patience` calls. Held-out records are
    clustered along with the others; in batches they have no label, -1, and do not count.

    Shortcut: own clusters can be whatever is easy to see, such as brightness, and all records may
    end in one; the other modality's are not easy, and do not follow the trunk that learns them.
    Its labels shuffled, `control=("vision_from_audio/target", "audio_from_vision/target")`, must
    leave features that are no better than random ones.

    Differs from the paper: a record has one label, of the clip in its middle, with all its clips.
    The learning rate does not start again with each clustering. Audio frames lie 20 ms apart, so
    that two seconds are the network's 100; which the paper's are is not known.

    Labels are of training records by their number: `Pretext` on other records measures nothing.

    Batch: views {"vision": uint8 (t short_side short_side 3), "audio": float32 (s), "record":
    int32}; augment {"vision": uint8 (b t crop crop 3), "audio": float32 (b s), and for each head
    "HEAD/target": int32 (b), such as 'vision_from_audio/target', and "clusterings": int32 ()}.

    Attributes:
      vision, audio: the trunks.
      layer: of both, without space and time: the features, which heads see and k-means clusters.
      mode: 'sdc', 'mdc', 'cdc' or 'xdc'.
      clusters: of each clustering.
      components: features are whitened to so many principal components and scaled to length 1
        before clustering (DeepCluster: 256); 0: they are taken as they are (but of 'cdc', each
        modality's has length 1).
      held_out: every so many-th record is held out, and the loss on these is watched; 0: none is,
        and there are new clusters at each call.
      patience: calls without a lower loss there before the next clustering.
      frames, rate: of a video clip; frames per second.
      short_side: to which frames are resized (their centre square is taken).
      crop: side of the square that the network sees, cut at random.
      seconds, sample_rate: of the audio around the clip; audio of another rate is resampled.
    """

    vision: nn.Module
    audio: nn.Module
    layer: str = "pool"
    mode: str = "xdc"
    clusters: int = 128
    components: int = 0
    held_out: int = 0
    patience: int = 2
    frames: int = 8
    rate: float = 30.0
    short_side: int = 256
    crop: int = 224
    seconds: float = 2.0
    sample_rate: int = 16000

    trunks: ClassVar[tuple[str, ...]] = ("vision", "audio")

    def __post_init__(self):
        one_of(self, "mode", LABELS)
        at_least(self, 2, "clusters")
        at_least(self, 0, "components", "held_out")
        at_least(self, 1, "patience", "frames", "short_side", "crop", "sample_rate")
        above(self, 0, "rate", "seconds")
        no_larger(self, "crop", "short_side")

    @property
    def net(self) -> nn.Module:
        names = tuple((head, own) for head, (own, _) in heads(self.mode).items())
        return ClusteringNet(self.vision, self.audio, self.layer, names, self.clusters)

    def views(self, record: Record, rng: np.random.Generator) -> Example:
        record.need_audio(self.seconds)
        begin, end = record.audible
        times, start = clip_with_sound(end - begin, self.frames, self.rate, self.seconds, rng)
        return {
            "vision": self._frames(record, [begin + float(times[0])], self.short_side)[0],
            "audio": audio_at(record, begin + start, self.seconds, self.sample_rate),
            "record": np.int32(record.index),
        }

    def _frames(self, record: Record, starts: Sequence[float], size: int) -> np.ndarray:
        return clip_squares_at(record, size, starts, self.frames, self.rate)

    def init(self, key: jax.Array, batch: Batch, records: int) -> dict:
        key_augment, key_net = jax.random.split(key)
        state = {"clusters": self._state(records, 0)}
        return {**self.init_net(key_net, self.augment(batch, state, key_augment)), **state}

    def _state(self, records: int, number: int) -> dict:
        """Of a clustering, with labels 0: before the first, as good as stalled."""
        kinds = sorted({of for _, of in heads(self.mode).values()})
        return {
            "of_record": {of: jnp.zeros(records, jnp.int32) for of in kinds},
            "number": jnp.int32(number),
            "best": jnp.float32(jnp.inf),
            "stalled": jnp.int32(0 if number else self.patience),
        }

    def augment(self, batch: Batch, state: State, key: jax.Array) -> Batch:
        key_crop, key_flip = jax.random.split(key)
        clips = random_flip(key_flip, random_crop(key_crop, batch["vision"], self.crop))
        labels, record = state["clusters"]["of_record"], batch["record"]
        out = record % self.held_out == 0 if self.held_out else jnp.zeros(record.shape, bool)
        targets = {
            f"{head}/target": jnp.where(out, -1, labels[of][record])
            for head, (_, of) in heads(self.mode).items()
        }
        number = {"clusterings": state["clusters"]["number"]}
        return {"vision": clips, "audio": batch["audio"], **targets, **number}

    def prepare(self, name: str, x: jax.Array) -> jax.Array:
        if name == "audio":
            return vmz_log_mel(x, self.sample_rate)
        return 2.0 * x - 1.0

    def objective(self, outputs: dict[str, jax.Array], batch: Batch):
        """The sum of the heads' cross-entropies; the mean accuracy, and each head's.

        Over the rows that have a label.
        """
        total, metrics = jnp.float32(0), {}
        for head, logits in outputs.items():
            loss, own = classification_of_known(logits, batch[f"{head}/target"])
            total, metrics[head] = total + loss, own["accuracy"]
        accuracy = jnp.mean(jnp.stack(list(metrics.values())))
        number = batch["clusterings"].astype(jnp.float32)
        return total, {"accuracy": accuracy, **metrics, "clusterings": number}

    def refresh(self, frozen, source: Source, key: jax.Array) -> Refreshed:
        kept = frozen.variables["clusters"]
        if self.held_out and int(kept["stalled"]) < self.patience:
            loss = self.held_out_loss(frozen, source)
            fell = loss < float(kept["best"])
            stalled = 0 if fell else int(kept["stalled"]) + 1
            if stalled < self.patience:
                best = min(loss, float(kept["best"]))
                return Refreshed({"clusters": {"best": best, "stalled": np.int32(stalled)}})
        return self._clustered(frozen, source, key)

    def held_out_loss(self, frozen, source: Source) -> float:
        """The loss on the clips in the middle of the held-out records, with their labels."""
        labels, total = frozen.variables["clusters"]["of_record"], 0.0
        part = Chosen(source, tuple(range(0, len(source), self.held_out)))
        for head, (own, of) in heads(self.mode).items():
            x, numbers = self._rows(frozen, part, own)
            weights = jax.device_get(frozen.variables["params"][head])
            logits = jnp.asarray(x @ weights["kernel"] + weights["bias"])
            target = jnp.asarray(np.asarray(labels[of])[numbers])
            total += float(classification_of_known(logits, target)[0])
        return total

    def _rows(self, frozen, source: Source, of: str) -> tuple[np.ndarray, np.ndarray]:
        """Features (n d) of one trunk, or 'both', and the numbers of their records."""
        if of != "both":
            found = frozen.features(source, of, (self.layer,))
            return np.asarray(found.layers[self.layer]), found.indices
        # Of records that both can read, each modality's features of length 1.
        parts = [self._rows(frozen, source, name) for name in self.trunks]
        numbers = np.intersect1d(*(own for _, own in parts))
        rows = [unit(x[np.isin(own, numbers)]) for x, own in parts]
        return np.concatenate(rows, axis=1), numbers

    def _clustered(self, frozen, source: Source, key: jax.Array) -> Refreshed:
        state = self._state(len(source), int(frozen.variables["clusters"]["number"]) + 1)
        params = frozen.variables["params"]
        for place, of in enumerate(state["of_record"]):
            x, numbers = self._rows(frozen, source, of)
            if self.components:
                x = unit(whitened(x, self.components))
            labels, *_ = frozen.k_means(x, self.clusters, jax.random.fold_in(key, place))
            of_all = np.full(len(source), -1, np.int32)  # of those that could not be read
            of_all[numbers] = labels
            state["of_record"][of] = of_all
        fresh = {
            head: new_head(jax.random.fold_in(key, 2 + place), params[head]["kernel"])
            for place, head in enumerate(heads(self.mode))
        }
        return Refreshed({"clusters": state}, fresh)

    def times(self, record: Record, stream: str, count: int) -> Sequence[float]:
        """Starts of windows of audio, or of video clips."""
        if stream == "vision":
            return even_times(record.duration, self.frames / self.rate, count)
        begin, end = record.audible
        return even_times(end, self.seconds, count, begin=begin)

    def clips(self, record: Record, stream: str, times: Sequence[float]) -> Example:
        """The audio that begins at each time, or the video clip that does."""
        if stream == "audio":
            sound = self.seconds, self.sample_rate
            return {"audio": np.stack([audio_at(record, time, *sound) for time in times])}
        return {"vision": self._frames(record, times, self.crop)}

    def pictures(self, batch: Batch) -> Batch:
        """The clip, and the log-mel spectrogram, low bands below."""
        bands = jnp.flip(self.prepare("audio", batch["audio"]).swapaxes(1, 2), axis=1)
        largest = jnp.maximum(jnp.max(bands), 1e-6)  # of silence
        return {"vision": batch["vision"], "audio": bands[..., None] / largest}

    def words(self, batch: Batch) -> dict[str, list[str]]:
        """Each head's cluster, once there are any."""
        if not int(batch["clusterings"]):
            return {"": ["no clusters yet"] * len(batch["vision"])}
        targets = {head: np.asarray(batch[f"{head}/target"]) for head in heads(self.mode)}
        return {head.replace("_", " "): [f"cluster {k}" for k in t] for head, t in targets.items()}
