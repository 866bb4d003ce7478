"""Methods with memory, as a user would write them: a slow copy with a queue, clusters, two senses
that one net takes together, a schedule and a teacher. None overrides `loss`."""

import dataclasses
from collections.abc import Mapping
from typing import ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from tiny import TinyTrunk

from ssl_jax.method import Method, Refreshed, scaled
from ssl_jax.objectives.classification import classification


class HeadNet(nn.Module):
    vision: nn.Module
    width: int

    @nn.compact
    def __call__(self, batch, train: bool):
        return nn.Dense(self.width, name="head")(self.vision(batch["vision"], train)["pool"])


@dataclasses.dataclass(frozen=True)
class Frames(Method):
    """What the methods below share: one frame of eight pixels a side."""

    vision: nn.Module = TinyTrunk()  # noqa: RUF009
    size: int = 8

    def views(self, record, rng):
        number = int(rng.integers(record.num_frames))
        return {"vision": record.need_frames()([number])[0, ::4, ::4]}

    def clips(self, record, stream, times):
        frames = record.need_frames()([record.frame_at(time) for time in times])
        return {"vision": frames[:, ::4, ::4]}


@dataclasses.dataclass(frozen=True)
class Queue(Frames):
    """A noisy view is told from a queue of slow copies' answers of earlier batches (MoCo)."""

    queue: int = 16
    momentum: float = 0.9

    @property
    def net(self):
        return HeadNet(self.vision, 4)

    def init(self, key, batch, records):
        variables = self.init_net(key, {"vision": batch["vision"]})
        entries = jax.random.normal(key, (self.queue, 4))
        return {**variables, "slow": variables, "queue": {"entries": entries}}

    def augment(self, batch, state, key):
        pixels = scaled(batch["vision"])
        noisy = pixels + 0.1 * jax.random.normal(key, pixels.shape)
        target = self.net.apply(state["slow"], {"vision": pixels}, train=False)
        # A table, not rows: the same for all of them.
        return {"vision": noisy, "key": target, "queue": state["queue"]["entries"]}

    def objective(self, outputs, batch):
        logits = jnp.concatenate(
            [jnp.sum(outputs * batch["key"], 1, keepdims=True), outputs @ batch["queue"].T], axis=1
        )
        return classification(logits, jnp.zeros(len(logits), jnp.int32))

    def after(self, params, state, batch, outputs):
        m, (step, steps) = self.momentum, (state["run"][k] for k in ("step", "steps"))
        m = m + (1 - m) * step / steps  # ever slower
        online = {"params": params, "batch_stats": state["batch_stats"]}
        slow = jax.tree.map(lambda s, p: m * s + (1 - m) * p, state["slow"], online)
        entries = jnp.concatenate([batch["key"], state["queue"]["entries"]])[: self.queue]
        return {**state, "slow": slow, "queue": {"entries": entries}}


@dataclasses.dataclass(frozen=True)
class Clusters(Frames):
    """The cluster of a record's own features is its class; new clusters, new head (DeepCluster)."""

    clusters: int = 3

    @property
    def net(self):
        return HeadNet(self.vision, self.clusters)

    def views(self, record, rng):
        return {**super().views(record, rng), "record": np.int32(record.index)}

    def init(self, key, batch, records):
        variables = self.init_net(key, {"vision": batch["vision"]})
        return {**variables, "clusters": {"of_record": jnp.zeros(records, jnp.int32)}}

    def augment(self, batch, state, key):
        noise = 0.05 * jax.random.normal(key, batch["vision"].shape)
        target = state["clusters"]["of_record"][batch["record"]]
        return {"vision": scaled(batch["vision"]) + noise, "target": target}

    def objective(self, outputs, batch):
        return classification(outputs, batch["target"])

    def refresh(self, frozen, source, key):
        features = frozen.features(source, "vision", ("pool",))
        labels, *_ = frozen.k_means(features.layers["pool"], self.clusters, key)
        of_record = np.zeros(len(source), np.int32)
        of_record[features.indices] = labels
        head = frozen.variables["params"]["head"]
        new = 0.1 * jax.random.normal(key, head["kernel"].shape)
        return Refreshed(
            {"clusters": {"of_record": of_record}},
            {"head": {"kernel": new, "bias": jnp.zeros_like(head["bias"])}},
        )


class FusedNet(nn.Module):
    vision: nn.Module
    audio: nn.Module

    def setup(self):
        self.joint, self.head = nn.Dense(8), nn.Dense(2)

    def fused(self, batch, train: bool):
        streams = self.vision(batch["vision"], train), self.audio(batch["audio"], train)
        joint = nn.relu(self.joint(jnp.concatenate([layers["pool"] for layers in streams], -1)))
        return {"vision_pool": streams[0]["pool"], "joint": joint}

    def __call__(self, batch, train: bool):
        return self.head(self.fused(batch, train)["joint"])


@dataclasses.dataclass(frozen=True)
class Fused(Frames):
    """Do this frame and this audio belong together? One net takes both."""

    audio: nn.Module = TinyTrunk()  # noqa: RUF009
    samples: int = 64
    trunks: ClassVar[tuple[str, ...]] = ("vision", "audio")

    @property
    def net(self):
        return FusedNet(self.vision, self.audio)

    @property
    def streams(self) -> Mapping[str, tuple[str, ...]]:
        return {**super().streams, "fused": ("vision", "audio")}

    def at(self, record, time):
        wave = record.need_audio()(time, time + self.samples / record.sample_rate)
        return {"audio": wave[: self.samples], **super().clips(record, "vision", [time])}

    def views(self, record, rng):
        example = self.at(record, rng.uniform(0, record.duration / 2))
        return {"vision": example["vision"][0], "audio": example["audio"]}

    def clips(self, record, stream, times):
        found = [self.at(record, time) for time in times]
        both = {
            "vision": np.concatenate([one["vision"] for one in found]),
            "audio": np.stack([one["audio"] for one in found]),
        }
        return {name: both[name] for name in self.streams[stream]}

    def times(self, record, stream, count):
        return np.linspace(0, record.duration / 2, count).tolist()

    def augment(self, batch, state, key):
        target = jax.random.bernoulli(key, shape=(len(batch["audio"]),)).astype(jnp.int32)
        other = jnp.roll(batch["audio"], 1, axis=0)
        return {**batch, "audio": jnp.where(target[:, None] == 1, batch["audio"], other)} | {
            "target": target
        }

    def objective(self, outputs, batch):
        return classification(outputs, batch["target"])


class TaughtNet(nn.Module):
    vision: nn.Module
    teacher: nn.Module

    @nn.compact
    def __call__(self, batch, train: bool):
        # Hotter and hotter as the run goes on.
        done = self.get_variable("run", "step") / self.get_variable("run", "steps")
        student = nn.Dense(16, name="head")(self.vision(batch["vision"], train)["pool"])
        return student, self.teacher(batch["vision"], False)["pool"], 1 + done


@dataclasses.dataclass(frozen=True)
class Taught(Frames):
    """A student copies a teacher that stays as it came."""

    trunks: ClassVar[tuple[str, ...]] = ("vision",)
    teachers: ClassVar[tuple[str, ...]] = ("teacher",)

    @property
    def net(self):
        return TaughtNet(self.vision, TinyTrunk())

    def objective(self, outputs, batch):
        student, teacher, heat = outputs
        loss = jnp.mean((student - teacher) ** 2) / heat
        return loss, {"heat": heat}


METHODS = {"queue": Queue, "clusters": Clusters, "fused": Fused, "taught": Taught}
