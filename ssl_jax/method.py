"""Method: the one interface that every self-supervised system implements.

    Record --views--> example --batch--> augment --> prepare --> net --> objective
             host                        \\________ device, inside the jitted step ________/

A method is a frozen dataclass whose fields are its knobs. It writes `net`, `views` and
`objective`, and overrides the rest where it needs to. It never sees a mesh, an axis or a trainer.

What a method keeps beside its weights (cluster assignments, slow copies, queues, counts) is its
*state*: collections that `init` makes, `augment` and the net read, and `after` (once per step) or
`refresh` (between steps, on the whole data set) replaces. Because the puzzle and its targets are
made in `augment`, control runs, micro-batches, multi-task training and drawing work for every
method.
"""

import abc
import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from ssl_jax.data.record import Record, Source
from ssl_jax.data.sampling import even_frames, even_times
from ssl_jax.data.squares import squares_at

Example = dict[str, np.ndarray | np.generic]  # one training example, on the host
Batch = dict[str, jax.Array]  # the same keys with a leading batch axis, on the device
Params = dict
State = dict  # every variable collection but 'params': batch statistics, queues, centroids
Metrics = dict[str, jax.Array]


@dataclasses.dataclass(frozen=True)
class Refreshed:
    """What `Method.refresh` changes.

    Attributes:
      state: whole collections, by name, of the shapes that `init` gave them.
      params: subtrees of the weights that begin again, such as {'head': ...} for new clusters. The
        optimizer's moments of these start again too.
    """

    state: State = dataclasses.field(default_factory=dict)
    params: Params = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Forward:
    """What one pass over a batch gives beside the loss.

    Attributes:
      state: the state after it (BatchNorm's statistics have moved), without 'run'.
      metrics: scalars by name.
      batch: the batch, augmented and prepared.
      outputs: what the net put out.
    """

    state: State
    metrics: Metrics
    batch: Batch
    outputs: Any


jax.tree_util.register_dataclass(
    Forward, data_fields=["state", "metrics", "batch", "outputs"], meta_fields=[]
)


def run_collection(step: jax.Array | np.ndarray | int, steps: int) -> State:
    """The read-only collection 'run' that `augment`, nets and `after` find in their state.

    `state["run"]["step"]` counts the updates made so far, `state["run"]["steps"]` those of the
    whole run (int32). Schedules are functions of the two, so that they resume exactly. A net reads
    `self.get_variable("run", "step")`.
    """
    return {"run": {"step": jnp.asarray(step, jnp.int32), "steps": jnp.int32(steps)}}


def scaled(x: jax.Array) -> jax.Array:
    """Bytes as float32 from 0 to 1; everything else as it is."""
    return x.astype(jnp.float32) / 255.0 if x.dtype == jnp.uint8 else x


@dataclasses.dataclass(frozen=True)
class Method(abc.ABC):
    """Base of all methods; see the module's docstring.

    Class attributes that a method sets where the default does not fit:

    * `trunks`: the fields of `net` that are trunks, named by modality (vision, audio, ...), so that
      `params['vision']` is exactly one trunk's weights.
    * `teachers`: entries at the top of the parameters that are never trained: no gradient, no
      moments. `init_from` fills them.
    * `also_prepared`: entries of the augmented batch that `prepare` makes inputs of beside those
      that streams take, such as a second view.
    * `rows_meet`: whether the *net* lets rows of the batch see one another (attention over the
      batch, say). Then a step cannot take its batch in micro-batches. A loss that compares rows
      is no obstacle.
    """

    trunks: ClassVar[tuple[str, ...]] = ("vision",)
    teachers: ClassVar[tuple[str, ...]] = ()
    also_prepared: ClassVar[tuple[str, ...]] = ()
    rows_meet: ClassVar[bool] = False

    # Every method writes these three.

    @property
    @abc.abstractmethod
    def net(self) -> nn.Module:
        """`net(batch, train) -> outputs`, built from the method's knobs."""

    @abc.abstractmethod
    def views(self, record: Record, rng: np.random.Generator) -> Example:
        """Host: samples times, then decodes only those. A pure function of (record, rng).

        Entries are uint8 pixels, float32 waves or integers, of one shape for all records.
        """

    @abc.abstractmethod
    def objective(self, outputs: Any, batch: Batch) -> tuple[jax.Array, Metrics]:
        """Loss (a float32 scalar over the global batch) and metrics (scalars)."""

    # The way of a batch.

    def augment(self, batch: Batch, state: State, key: jax.Array) -> Batch:
        """Device, random: makes the puzzle and its targets. Default: nothing.

        Images may leave it as bytes or as floats from 0 to 1. No gradient passes through it, so
        targets from a slow copy or from clusters in the state are made here.
        """
        del state, key
        return batch

    def prepare(self, name: str, x: jax.Array) -> jax.Array:
        """Device, deterministic: a trunk's input from pixels 0..1, a wave or tokens.

        Used by training and by `encode` on every entry that `streams` or `also_prepared` names.
        Default: as it is.
        """
        del name
        return x

    def inputs(self, batch: Batch) -> Batch:
        """Bytes scaled to 0..1, and `prepare`, on the entries of which it makes inputs."""
        taken = {name for entries in self.streams.values() for name in entries}
        taken = taken.union(self.also_prepared)
        return {k: self.prepare(k, scaled(x)) if k in taken else x for k, x in batch.items()}

    def outputs(
        self, params: Params, state: State, batch: Batch, key: jax.Array, train: bool = True
    ) -> tuple[Any, State]:
        """The net on an augmented and prepared batch: its outputs, and the new state.

        With train=False the state stays as it is. The state comes back without 'run'.
        """
        kept = {name: tree for name, tree in state.items() if name != "run"}
        variables = {"params": params, **state}
        if not train:
            return self.net.apply(variables, batch, train=False), kept
        outputs, new = self.net.apply(
            variables, batch, train=True, rngs={"dropout": key}, mutable=list(kept)
        )
        return outputs, {**kept, **new}

    def forward(
        self, params: Params, state: State, batch: Batch, key: jax.Array, train: bool = True
    ) -> tuple[jax.Array, Forward]:
        """augment -> prepare -> net -> objective: the loss, and all else that came of it."""
        key_augment, key_net = jax.random.split(key)
        batch = jax.lax.stop_gradient(self.inputs(self.augment(batch, state, key_augment)))
        outputs, state = self.outputs(self.without_teachers(params), state, batch, key_net, train)
        value, metrics = self.objective(outputs, batch)
        return value, Forward(state, metrics, batch, outputs)

    def loss(
        self, params: Params, state: State, batch: Batch, key: jax.Array, train: bool = True
    ) -> tuple[jax.Array, tuple[State, Metrics]]:
        """The loss of a batch as it came from the host, the new state, and metrics.

        Only a two-player game overrides this; it gives up control runs and micro-batches.
        """
        value, passed = self.forward(params, state, batch, key, train)
        return value, (passed.state, passed.metrics)

    @property
    def has_own_loss(self) -> bool:
        """Whether `loss` is not the composition of the other hooks."""
        return type(self).loss is not Method.loss

    def without_teachers(self, params: Params) -> Params:
        """The same parameters, of which no gradient reaches the teachers."""
        stop = jax.lax.stop_gradient
        return {k: stop(tree) if k in self.teachers else tree for k, tree in params.items()}

    # State.

    def init(self, key: jax.Array, batch: Batch, records: int) -> dict:
        """All variables: {'params': ..., **state}. `records` is the length of the source.

        A method with state of its own overrides this. If its `augment` reads that state, it calls
        `init_net` with a batch like the augmented one, for instance

            def init(self, key, batch, records):
                puzzle = {"vision": ..., "target": ...}
                clusters = {"of_record": jnp.zeros(records, jnp.int32)}
                return {**self.init_net(key, puzzle), "clusters": clusters}
        """
        del records
        key_augment, key_net = jax.random.split(key)
        # Any number of steps: none of it reaches the variables.
        return self.init_net(key_net, self.augment(batch, run_collection(0, 1), key_augment))

    def init_net(self, key: jax.Array, batch: Batch) -> dict:
        """The net's variables, from an augmented batch (of which only the shapes count)."""
        _, made = self.net.apply(
            run_collection(0, 1),
            self.inputs(batch),
            train=False,
            rngs={"params": key, "dropout": key},
            mutable=nn.DenyList(("run", "intermediates")),
        )
        return dict(made)

    def after(self, params: Params, state: State, batch: Batch, outputs: Any) -> State:
        """Once per step, after the update: the new state. Default: as it is.

        For slow copies, queues and centres.

        Args:
          params: after the update.
          state: as the net left it, and 'run' (`step` counts the updates before this one).
          batch: the whole batch, augmented and prepared.
          outputs: what the net put out for it. (With a `loss` of its own: the batch as it came from
            the host, and None.)
        """
        del params, batch, outputs
        return state

    def refresh(self, frozen, source: Source, key: jax.Array) -> Refreshed:
        """Between steps: before step 1, and every `refresh_every` steps. Default: nothing changes.

        For methods that look at the whole data set: new clusters, colour centres, counts.

        Args:
          frozen: the method as trained so far, `ssl_jax.Frozen`: `frozen.features(source, ...)`,
            `frozen.k_means(...)`, `frozen.variables`. Every host reads its share of the records.
          source: the training records.
          key: of this refresh.
        """
        del frozen, source, key
        return Refreshed()

    def worry(self, metrics: Mapping[str, float]) -> str:
        """Host: what the log should warn of, once, given metrics of late; '' for nothing.

        For signs that training goes wrong which the loss does not show.
        """
        del metrics
        return ""

    # Evaluation.

    @property
    def streams(self) -> Mapping[str, tuple[str, ...]]:
        """What features can be read from: stream -> the batch entries that it takes.

        By default every trunk is a stream that takes the entry of its name. A stream that is no
        trunk is a method of the net of that name, `net.fused(batch, train) -> layers`; so a network
        that takes audio and video together says {'fused': ('vision', 'audio')}.
        """
        return {name: (name,) for name in self.trunks}

    def times(self, record: Record, stream: str, count: int) -> Sequence[float]:
        """Host: `count` times in seconds, evenly spread, at which `clips` has inputs.

        Default: those of frames from the first to the last (the middle one for a single time), or
        of a record without frames, over its duration.
        """
        del stream
        if record.num_frames:
            return [record.time_of(k) for k in even_frames(record.num_frames, count).tolist()]
        return even_times(record.duration, 0.0, count)

    def clips(self, record: Record, stream: str, times: Sequence[float]) -> Example:
        """Host: evaluation inputs that begin at these times, not random; rows first.

        Returns the entries that the stream takes; others, such as true lengths, may be added.
        Default: of a stream that takes images, the frame at each time as a centre square of
        `size` pixels, the method's knob.
        """
        (name,) = self.streams[stream]
        return {name: squares_at(record, self.size, times)}

    def encode(self, variables: dict, stream: str, inputs: Batch) -> dict[str, jax.Array]:
        """Frozen features of `clips`: layer name -> array with leading batch axis.

        A trunk that takes one entry is called with the array, otherwise with the dict.
        """
        x = self.inputs(inputs)
        if stream not in self.trunks:
            return self.net.apply(variables, x, False, method=stream)
        own = {name: tree[stream] for name, tree in variables.items() if stream in tree}
        only = next(iter(x.values())) if len(x) == 1 else x
        return getattr(self.net, stream).apply(own, only, train=False)

    def pictures(self, batch: Batch) -> Batch | None:
        """For `ssl_jax.show`: what to draw of an augmented batch, under which names.

        Default: None, for the batch itself.
        """
        del batch
        return None

    def words(self, batch: Batch) -> Mapping[str, Sequence[str]]:
        """For `ssl_jax.show`: what targets mean, a text for each row of an augmented batch.

        By the names of entries: {'target': ['90°', ...]}. They stand beside the rows in place of
        the batch's numbers. Default: {}, the numbers themselves.
        """
        del batch
        return {}

    # Trunks.

    def map_trunks(self, change: Callable[[nn.Module], nn.Module]) -> "Method":
        """The same method with each trunk among its knobs changed."""
        knobs = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        trunks = {name: knob for name, knob in knobs.items() if isinstance(knob, nn.Module)}
        return dataclasses.replace(self, **{name: change(trunk) for name, trunk in trunks.items()})

    def with_dtype(self, dtype: str) -> "Method":
        """The same method, its trunks computing in `dtype` (weights stay float32).

        Raises ValueError if a trunk without a field `dtype` should compute in another than float32.
        """

        def change(trunk: nn.Module) -> nn.Module:
            if hasattr(trunk, "dtype"):
                return trunk.clone(dtype=dtype)
            if dtype != "float32":
                raise ValueError(f"dtype={dtype}: {type(trunk).__name__} has no field dtype to set")
            return trunk

        return self.map_trunks(change)
