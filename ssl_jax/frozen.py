"""Frozen: a trained (or freshly initialised) method whose features are read."""

import dataclasses
import os
from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from ssl_jax import config as configs
from ssl_jax.data.pipeline import Loading
from ssl_jax.data.record import Source
from ssl_jax.data.record_batches import record_batches
from ssl_jax.devices.sharding import Sharding, by_rows, put_batch, put_same, replicated, run_once
from ssl_jax.experiment import Experiment
from ssl_jax.features import BLOCK, Features, Gathered
from ssl_jax.method import Method
from ssl_jax.ops.probe_pooling import reduce_map
from ssl_jax.training.checkpoint import saved_variables


@dataclasses.dataclass(frozen=True, eq=False)
class Frozen:
    """A method with its variables, on a mesh.

    `encode` takes arrays, `features` takes a source. Build one with `ssl_jax.load(workdir)`.

    Attributes:
      batch_size: inputs at once, over all devices.
      fresh: makes the variables of a new initialisation.
      memory: bytes of features to keep for whoever asks again, the last ones asked for. Those of
        one source that are more lie in a temporary file (in TMPDIR); see `forget`.
    """

    method: Method
    variables: dict
    mesh: Mesh
    batch_size: int = 64
    loading: Loading = Loading()
    fresh: Callable[[], dict] | None = None
    memory: int = Experiment.eval_memory
    _cache: dict = dataclasses.field(default_factory=dict, repr=False)  # of features
    _compiled: dict = dataclasses.field(default_factory=dict, repr=False)

    @staticmethod
    def of(experiment: Experiment, mesh: Mesh, variables: dict | None = None) -> "Frozen":
        """An experiment's method with the given variables, or freshly initialised ones."""

        def fresh() -> dict:
            return run_once(experiment.initialiser(), replicated(mesh))

        variables = put_same(variables, replicated(mesh)) if variables else fresh()
        method = experiment.method.with_dtype(experiment.dtype)
        return Frozen(
            method,
            variables,
            mesh,
            experiment.eval_batch_size,
            experiment.data,
            fresh,
            experiment.eval_memory,
        )

    def with_variables(self, variables: dict) -> "Frozen":
        """The same method with other weights; what is compiled serves both."""
        placed = put_same(variables, replicated(self.mesh))
        return dataclasses.replace(self, variables=placed, _cache={})

    def random_init(self) -> "Frozen":
        """The same method before training: the baseline that every number stands beside."""
        if self.fresh is None:
            raise ValueError("this Frozen was made without `fresh`, so it cannot be re-initialised")
        return self.with_variables(self.fresh())

    def encode(self, stream: str, raw: np.ndarray) -> dict[str, np.ndarray]:
        """Features of raw inputs, any number of them, the same on every host: {layer name: array}.

        `raw` is what the method's `clips` returns: for images uint8 (n, h, w, 3), for clips uint8
        (n, t, h, w, 3), for sound float32 waves (n, s).
        """
        self._check(stream)
        return self._by_chunks(self._encoder(stream, ""), raw)

    def maps(self, stream: str, raw: np.ndarray, layers: tuple[str, ...]) -> dict[str, np.ndarray]:
        """As `encode`, of some layers only: nothing beyond them is computed, or copied to the host.

        Pictures may be larger or smaller than the method's: a fully connected layer that they do
        not fit, and what is above it, is NaN.

        Raises ValueError for an unknown stream or layer.
        """
        self._check(stream)
        if (stream, layers) not in self._compiled:

            def some(variables, raw):
                with nn.intercept_methods(_nan_where_unfit):
                    out = _encode(self.method, stream, "", variables, raw)
                missing = [name for name in layers if name not in out]
                if missing:
                    raise ValueError(
                        f"no layer '{missing[0]}' in {stream}; it has {', '.join(out)}"
                    )
                return {name: out[name] for name in layers}

            whole = replicated(self.mesh)
            shardings = {"in_shardings": (whole, by_rows(self.mesh)), "out_shardings": whole}
            self._compiled[stream, layers] = jax.jit(some, **shardings)
        return self._by_chunks(self._compiled[stream, layers], raw)

    def _by_chunks(self, encode: Callable, raw: np.ndarray) -> dict[str, np.ndarray]:
        """`encode` on batches of raw inputs, of which the last is filled up."""
        # A few inputs, such as one film's many frames, are not filled up to a whole batch.
        most = min(self.batch_size, len(raw))
        rows = -(-most // self.mesh.size) * self.mesh.size
        parts = []
        for start in range(0, len(raw), rows):
            chunk = raw[start : start + rows]
            filled = np.concatenate([chunk, np.repeat(chunk[-1:], rows - len(chunk), axis=0)])
            out = encode(self.variables, put_same(filled, by_rows(self.mesh)))
            parts.append({k: jax.device_get(v)[: len(chunk)] for k, v in out.items()})
        return {k: np.concatenate([part[k] for part in parts]) for k in parts[0]}

    def puzzle(self, batch: dict[str, np.ndarray], key: jax.Array) -> dict[str, float]:
        """The method's loss and metrics on one batch (whole on every host), nothing trained."""
        if "puzzle" not in self._compiled:

            def loss(variables, batch, key):
                params, state = (
                    variables["params"],
                    {k: v for k, v in variables.items() if k != "params"},
                )
                value, (_, metrics) = self.method.loss(params, state, batch, key, train=False)
                return {"loss": value, **metrics}

            self._compiled["puzzle"] = jax.jit(loss, out_shardings=replicated(self.mesh))
        placed = put_same(batch, by_rows(self.mesh))
        numbers = jax.device_get(self._compiled["puzzle"](self.variables, placed, key))
        return {name: float(value) for name, value in numbers.items()}

    def features(
        self,
        source: Source,
        stream: str,
        layers: tuple[str, ...] = (),
        clips: int = 1,
        pool: str = "max",
        average: bool = True,
    ) -> Features:
        """Features of every record of a source, `clips` inputs a record.

        Maps larger than about 9000 numbers are made smaller, to a square of cells whose side the
        number of channels sets, as in the layer-by-layer probes of the literature.

        Args:
          layers: which to return, () for all; 'input' is the raw input.
          pool: how; see `ops.probe_pooling.reduce_map`.
          average: rows (n d) are the mean over a record's clips; otherwise they are (n clips d).

        Raises ValueError for an unknown stream or layer.
        """
        self._check(stream)
        if len(source) == 0:
            raise ValueError(f"the source {source} is empty")
        layers = tuple(layers)
        key = (source, stream, layers, clips, pool, average)
        found = self._cache.pop(key) if key in self._cache else self._extract(*key)
        self._cache[key] = found  # the last one asked for is the last in the dict
        kept = [other for other in self._cache if self._cache[other].bytes_in_memory]
        while sum(self._cache[other].bytes_in_memory for other in kept) > self.memory:
            del self._cache[kept.pop(0)]
        return found

    def forget(self) -> None:
        """Keeps no features any more, neither in memory nor in files."""
        self._cache.clear()

    def _extract(self, source, stream, layers, clips, pool, average) -> Features:
        def read(record):
            return {
                "x": self.method.clips(record, stream, clips),
                "label": np.int64(record.label),
                "index": np.int64(record.index),
                "group": np.int64(record.extra.get("group", 0)),
            }

        processes, process = jax.process_count(), jax.process_index()
        unit = self.mesh.size
        rows = max(1, self.batch_size // clips // unit) * unit // processes
        encode = self._encoder(stream, pool)
        gathered = Gathered(len(range(process, len(source), processes)), self.memory)
        names = []
        for batch, valid in record_batches(source, read, rows, self.loading, process, processes):
            x = batch.pop("x")
            flat = put_batch(self.mesh, {"x": x.reshape(-1, *x.shape[2:])})["x"]
            out = encode(self.variables, flat)
            missing = [name for name in layers if name not in out]
            if missing:
                raise ValueError(f"no layer '{missing[0]}' in {stream}; it has {', '.join(out)}")
            names = layers or tuple(out)
            local = {name: _local_rows(out[name]) for name in names}
            local = {k: v.reshape(rows, clips, -1)[:valid] for k, v in local.items()}
            local = {k: v.mean(1) for k, v in local.items()} if average else local
            local = {f"layer {k}": v.astype(np.float32) for k, v in local.items()}
            gathered.add(local | {k: v[:valid] for k, v in batch.items()})
        if processes > 1:
            gathered = _all_hosts(gathered.arrays(), len(source), self.memory)
        whole = gathered.sorted_by("index")
        return Features(
            layers={name: whole[f"layer {name}"] for name in names},
            labels=np.asarray(whole["label"]),
            indices=np.asarray(whole["index"]),
            groups=np.asarray(whole["group"]),
        )

    def _encoder(self, stream: str, pool: str):
        """A jitted function of (variables, raw): the layers, from the input up."""
        key = (stream, pool)
        if key not in self._compiled:
            order: list[str] = []  # jit sorts the keys of a dict; this is written when it traces

            def layers(variables, raw):
                out = _encode(self.method, stream, pool, variables, raw)
                order[:] = out
                return out

            rows, whole = by_rows(self.mesh), replicated(self.mesh)
            # Maps that are not pooled are few, and wanted whole on every host.
            to = rows if pool else whole
            jitted = jax.jit(layers, in_shardings=(whole, rows), out_shardings=to)

            def encode(variables, raw):
                out = jitted(variables, raw)
                return {name: out[name] for name in order}

            self._compiled[key] = encode
        return self._compiled[key]

    def _check(self, stream: str) -> None:
        if stream not in self.method.streams:
            known = ", ".join(self.method.streams)
            raise ValueError(f"the method has no stream '{stream}'; it has {known}")


def _encode(method: Method, stream: str, pool: str, variables: dict, raw) -> dict:
    layers = {"input": method.prepare(stream, raw), **method.encode(variables, stream, raw)}
    return {name: _reduced(x, pool) for name, x in layers.items()} if pool else layers


def _nan_where_unfit(call: Callable, args: tuple, kwargs: dict, context):
    """In place of a dense layer whose weights are for another number of inputs: NaN."""
    module = context.module
    if isinstance(module, nn.Dense) and context.method_name == "__call__":
        x, kernel = args[0], module.get_variable("params", "kernel")
        if kernel.shape[0] != x.shape[-1]:
            return jnp.full((*x.shape[:-1], kernel.shape[1]), jnp.nan, x.dtype)
    return call(*args, **kwargs)


def _reduced(x: jax.Array, pool: str) -> jax.Array:
    """(n, ..., h, w, c) -> (n, at most about 9000); time is averaged, small arrays stay whole."""
    if x.ndim == 5:
        x = x.mean(1)
    if x.ndim == 3:  # a spectrogram: one channel
        x = x[..., None]
    if x.ndim == 4:
        x = reduce_map(x, pool)
    return x.reshape(len(x), -1)


def _local_rows(x: jax.Array) -> np.ndarray:
    """This host's rows of an array whose rows are split over all devices."""
    shards = sorted(x.addressable_shards, key=lambda s: s.index[0].start or 0)
    return np.concatenate([np.asarray(s.data) for s in shards])


def _all_hosts(rows: dict[str, np.ndarray], most: int, memory: int) -> Gathered:
    """Every host's rows, of possibly different number, on every host; some at a time."""
    from jax.experimental import multihost_utils

    own = len(next(iter(rows.values())))
    counts = multihost_utils.process_allgather(np.array([own])).ravel()
    gathered = Gathered(most, memory)
    for start in range(0, int(counts.max()), BLOCK):
        here = np.clip(counts - start, 0, BLOCK)
        part = {k: v[start : start + BLOCK] for k, v in rows.items()}
        filled = {  # what fills up is dropped below; a host may have nothing of its own to repeat
            k: np.pad(v, [(0, here.max() - len(v))] + [(0, 0)] * (v.ndim - 1))
            for k, v in part.items()
        }
        every = multihost_utils.process_allgather(filled)
        for host, count in enumerate(here):
            gathered.add({k: v[host, :count].astype(rows[k].dtype) for k, v in every.items()})
    return gathered


def load(workdir: str | os.PathLike, step: int | None = None) -> Frozen:
    """The method that was trained in `workdir`, with its newest checkpoint or that of `step`.

    Raises ConfigError if there is none.
    """
    workdir = os.fspath(workdir)
    path = os.path.join(workdir, "config.json")
    if not os.path.isfile(path):
        raise configs.ConfigError(f"no trained run in {workdir} (there is no config.json)")
    recorded = configs.read(path)
    variables = saved_variables(workdir, step)
    mesh = Sharding().mesh()
    method = configs.build(recorded.method).with_dtype(recorded.dtype)
    placed, loading = put_same(variables, replicated(mesh)), configs.build(recorded.data)
    memory = recorded.get("eval_memory", Experiment.eval_memory)  # earlier runs have no such knob
    return Frozen(method, placed, mesh, recorded.eval_batch_size, loading, memory=memory)
