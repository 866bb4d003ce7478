"""Frozen: a trained (or freshly initialised) method whose features are read."""

import dataclasses
import os
from collections.abc import Callable, Iterable, Mapping, Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Float, Int, Shaped

from ssl_jax.config import ConfigError
from ssl_jax.data.annotations import group_of
from ssl_jax.data.labels import label_names
from ssl_jax.data.paths import home
from ssl_jax.data.pipeline import Loading, first_example
from ssl_jax.data.record import Record, Source
from ssl_jax.data.record_batches import read_some, record_batches
from ssl_jax.data.sources.files import FilesSource
from ssl_jax.devices.sharding import by_rows, put_batch, put_same, replicated, run_once
from ssl_jax.experiment import Experiment
from ssl_jax.features import Features, Gathered, local_rows, of_all_hosts
from ssl_jax.method import Example, Method, run_collection, scaled
from ssl_jax.models.layers import nan_where_unfit
from ssl_jax.ops.probe_pooling import reduced_rows
from ssl_jax.solvers.k_means import k_means
from ssl_jax.training.start import save_trunk

# What an evaluator wants of each record beside features, taken while the record is open: arrays or
# numbers by name, of one shape for all records.
Facts = Callable[[Record], Mapping[str, Shaped[np.ndarray, "..."] | np.generic | int | float]]


@dataclasses.dataclass(frozen=True, eq=False)
class Frozen:
    """A method with its variables, on a mesh.

    `encode` takes arrays, `features` takes a source, `embed` takes files. Build one with
    `ssl_jax.load(workdir)`.

    Attributes:
      method: as it was trained; a control's is the method itself.
      variables: {'params': ..., **state}, with the read-only collection 'run'.
      mesh: the devices.
      batch_size: inputs at once, over all devices.
      loading: how records are read.
      fresh: makes the variables of a new initialisation.
      trained_names: gives the names of the classes of the records that the method was trained on.
      layers_read: names of the layers whose features were read so far, here or in a copy with other
        variables.
      memory: bytes of features to keep for whoever asks again, the last ones asked for. Those of
        one source that are more lie in a temporary file (in TMPDIR); see `forget`.
    """

    method: Method
    variables: dict
    mesh: Mesh
    batch_size: int = 64
    loading: Loading = Loading()
    fresh: Callable[[], dict] | None = None
    memory: int = 4 * 2**30
    trained_names: Callable[[], tuple[str, ...]] = tuple
    layers_read: set[str] = dataclasses.field(default_factory=set, repr=False)
    _cache: dict = dataclasses.field(default_factory=dict, repr=False)  # of features
    _compiled: dict = dataclasses.field(default_factory=dict, repr=False)

    @staticmethod
    def of(experiment: Experiment, mesh: Mesh, variables: dict | None = None) -> "Frozen":
        """An experiment's method with the given variables, or freshly initialised ones."""

        def fresh() -> dict:
            made = run_once(experiment.initialiser(), replicated(mesh))
            return {**made, **run_collection(0, experiment.steps)}

        if variables:
            step = variables["run"]["step"] if "run" in variables else 0
            variables = {**variables, **run_collection(step, experiment.steps)}
        method = experiment.method.with_dtype(experiment.dtype)
        return Frozen(
            method,
            put_same(variables or fresh(), replicated(mesh)),
            mesh,
            experiment.eval_batch_size,
            experiment.data,
            fresh,
            experiment.eval_memory,
            lambda: label_names(experiment.source),
        )

    @staticmethod
    def of_shapes(experiment: Experiment, mesh: Mesh) -> "Frozen":
        """An experiment's method with the shapes of its variables alone, for `check_layers`.

        Nothing lies on the devices, where a whole copy might not fit beside a sharded state.
        """
        shapes = jax.eval_shape(experiment.initialiser())
        variables = {**shapes, **run_collection(0, experiment.steps)}
        method = experiment.method.with_dtype(experiment.dtype)
        return Frozen(method, variables, mesh, experiment.eval_batch_size, experiment.data)

    def with_variables(self, variables: dict) -> "Frozen":
        """The same method with other weights; what is compiled serves both."""
        placed = put_same(variables, replicated(self.mesh))
        return dataclasses.replace(self, variables=placed, _cache={})

    def of_method(self, method: Method, variables: dict) -> "Frozen":
        """Another method, say one of several tasks, with its own variables, read likewise."""
        return dataclasses.replace(
            self, method=method, variables=variables, fresh=None, _cache={}, _compiled={}
        )

    def random_init(self) -> "Frozen":
        """The same method before training: the baseline that every number stands beside."""
        if self.fresh is None:
            raise ValueError("this Frozen was made without `fresh`, so it cannot be re-initialised")
        return self.with_variables(self.fresh())

    def encode(
        self, stream: str, inputs: Shaped[np.ndarray, "n ..."] | Example
    ) -> dict[str, Shaped[np.ndarray, "n ..."]]:
        """Features of inputs, any number of them, the same on every host: {layer name: array}.

        Args:
          stream: a trunk, or another of the method's `streams`.
          inputs: as the method's `clips` gives them, by the names of the entries; of a stream that
            takes a single entry, just its array: for images uint8 (n, h, w, 3), for clips uint8
            (n, t, h, w, 3), for audio float32 waves (n, s).

        Raises ConfigError for an unknown stream.
        """
        self._check(stream)
        return self._by_chunks(self._encoder(stream, ""), self._entries(stream, inputs))

    def maps(
        self, stream: str, inputs: Shaped[np.ndarray, "n ..."] | Example, layers: tuple[str, ...]
    ) -> dict[str, Shaped[np.ndarray, "n ..."]]:
        """As `encode`, of some layers only: nothing beyond them is computed, or copied to the host.

        Images may be larger or smaller than the method's: a fully connected layer that they do not
        fit, and what is above it, is NaN.

        Raises ConfigError for an unknown stream or layer.
        """
        self._check(stream)
        if (stream, layers) not in self._compiled:

            def some(variables, x):
                with nn.intercept_methods(nan_where_unfit):
                    out = _encode(self.method, stream, "", variables, x)
                _check_layers(layers, out, stream)
                return {name: out[name] for name in layers}

            whole = replicated(self.mesh)
            shardings = {"in_shardings": (whole, by_rows(self.mesh)), "out_shardings": whole}
            self._compiled[stream, layers] = jax.jit(some, **shardings)
        self.layers_read.update(layers)
        return self._by_chunks(self._compiled[stream, layers], self._entries(stream, inputs))

    def _entries(self, stream: str, inputs: np.ndarray | Example) -> Example:
        if isinstance(inputs, Mapping):
            return dict(inputs)
        names = self.method.streams[stream]
        if len(names) > 1:
            raise ConfigError(f"stream '{stream}' takes {', '.join(names)}: give them by name")
        return {names[0]: inputs}

    def _by_chunks(self, encode: Callable, inputs: Example) -> dict[str, np.ndarray]:
        """`encode` on batches of inputs, of which the last is filled up."""
        count = len(next(iter(inputs.values())))
        # A few inputs, such as one video's many frames, are not filled up to a whole batch.
        rows = -(-min(self.batch_size, count) // self.mesh.size) * self.mesh.size
        parts = []
        for start in range(0, count, rows):
            chunk = {k: v[start : start + rows] for k, v in inputs.items()}
            size = min(rows, count - start)
            filled = {
                k: np.concatenate([v, np.repeat(v[-1:], rows - size, axis=0)])
                for k, v in chunk.items()
            }
            out = encode(self.variables, put_same(filled, by_rows(self.mesh)))
            parts.append({k: jax.device_get(v)[:size] for k, v in out.items()})
        return {k: np.concatenate([part[k] for part in parts]) for k in parts[0]}

    def puzzle(self, batch: dict[str, np.ndarray], key: jax.Array) -> dict[str, float]:
        """The method's loss and metrics on one batch (whole on every host), nothing trained."""
        if "puzzle" not in self._compiled:

            def loss(variables, batch, key):
                params, state = variables["params"], _state(variables)
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
        times: Callable[[Record], Sequence[float]] | None = None,
        facts: Facts | None = None,
        baseline: Callable[[jax.Array], jax.Array] | None = None,
    ) -> Features:
        """Features of every record of a source, `clips` inputs a record.

        Maps larger than about 9000 numbers are made smaller, to a square of cells whose side the
        number of channels sets, as in the layer-by-layer probes of the literature. Each host reads
        its share of the records; all have the result.

        Args:
          layers: which to return, () for all; 'input' is the raw input.
          clips: inputs of each record, evenly spread (the method's `times`).
          pool: how; see `ops.probe_pooling.reduce_map`.
          average: rows (n d) are the mean over a record's clips; otherwise they are (n clips d).
          times: the seconds of a record at which its inputs begin, `clips` of them, in place of
            evenly spread ones.
          facts: what else is wanted of each record; it becomes `Features.facts`.
          baseline: makes 'input' of the raw input on the device, such as coefficients of audio.

        Who asks for the same again gets what was kept. Callables are the same if they are equal: of
        functions that is the very same one, of frozen dataclasses another with the same fields.

        Raises ConfigError for an unknown stream or layer, or an empty source.
        """
        self._check(stream)
        if len(source) == 0:
            raise ConfigError(f"the source {source} is empty")
        layers = tuple(layers)
        key = (source, stream, layers, clips, pool, average, times, facts, baseline)
        found = self._cache.pop(key) if key in self._cache else self._extract(*key)
        self._cache[key] = found  # the last one asked for is the last in the dict
        kept = [other for other in self._cache if self._cache[other].bytes_in_memory]
        while sum(self._cache[other].bytes_in_memory for other in kept) > self.memory:
            del self._cache[kept.pop(0)]
        return found

    def embed(
        self, paths: Sequence[str | os.PathLike], stream: str = "", layer: str = ""
    ) -> Float[np.ndarray, "n d"]:
        """Features of a handful of files, images, videos or audio: one row a file, in their order.

        Of each file one input is read, from its middle. The rows are those that `features` gives;
        for whole data sets use that, which keeps them and can average over several clips.

        Args:
          paths: of the files, or their URLs.
          stream: a trunk, or another of the method's `streams`; '': the first.
          layer: '': the last.

        Raises MediaError for a file that is missing, cannot be read, or lacks what the stream
        takes; ConfigError for an unknown stream or layer, or no files.
        """
        stream = stream or next(iter(self.method.streams))
        self._check(stream)
        if isinstance(paths, str | os.PathLike):
            raise ConfigError(f"embed takes a list of paths: give [{os.fspath(paths)!r}]")
        source = FilesSource(tuple(os.fspath(path) for path in paths))
        if len(source) == 0:
            raise ConfigError("embed was given no files")
        # A row for each file or an error; and no batch of many rows for a few files.
        rows = -(-min(self.batch_size, len(source)) // self.mesh.size) * self.mesh.size
        loading = dataclasses.replace(self.loading, on_error="raise")
        strict = dataclasses.replace(self, batch_size=rows, loading=loading)
        # Not kept for the next call: files may change.
        layers = (layer,) if layer else ()
        found = strict._extract(source, stream, layers, 1, "max", True, None, None, None)
        return found.layers[next(reversed(found.layers))]  # they run from the input up

    def check_layers(self, stream: str, layers: Sequence[str], source: Source | None) -> None:
        """Raises ConfigError for an unknown stream or layer; computes nothing.

        Args:
          source: of which the first readable record shows the shapes of inputs; without one, names
            of layers are not checked.
        """
        self._check(stream)
        if not layers or source is None:
            return
        if ("names", stream) not in self._compiled:

            def read(record: Record, _) -> Example:
                return self.method.clips(record, stream, self.method.times(record, stream, 1))

            example = first_example(source, read, 0, self.loading)
            names: list[str] = []  # in their order, which eval_shape does not keep

            def encode(variables, inputs):
                out = _encode(self.method, stream, "", variables, inputs)
                names[:] = out
                return out

            jax.eval_shape(encode, self.variables, example)
            self._compiled["names", stream] = names
        _check_layers(layers, self._compiled["names", stream], stream)

    def forget(self) -> None:
        """Drops all features that were kept, in memory and in files."""
        self._cache.clear()

    def inputs(
        self, source: Source, stream: str, clips: int = 1, limit: int = 0
    ) -> tuple[dict[str, Shaped[np.ndarray, "n clips ..."]], Int[np.ndarray, "n"]]:
        """The inputs of a source's records, as `clips` gives them, and which records these are.

        Args:
          clips: of each record.
          limit: only of so many records, spread evenly over the source; 0: of all.

        Broken records are left out; with a limit, others take their place. Raises ConfigError for
        an unknown stream or an empty source.
        """
        self._check(stream)
        if len(source) == 0:
            raise ConfigError(f"the source {source} is empty")

        def read(record):
            own = self.method.clips(record, stream, self.method.times(record, stream, clips))
            return {**own, "record": np.int64(record.index)}

        found = read_some(source, read, limit, self.batch_size, self.loading)
        ascending = np.argsort(found["record"], kind="stable")
        found = {k: v[ascending] for k, v in found.items()}
        return found, found.pop("record")

    def k_means(
        self,
        x: Float[np.ndarray, "n d"],
        clusters: int,
        key: jax.Array,
        restarts: int = 1,
        iterations: int = 100,
    ) -> tuple[Int[np.ndarray, "n"], Float[np.ndarray, "k d"], float]:
        """Clusters rows over the mesh: (each row's cluster, centres, sum of squared distances).

        Every host gives all rows; see `solvers.k_means`. For `Method.refresh`.
        """
        seed = int(jax.random.bits(key)) >> 1
        return k_means(self.mesh, x, clusters, restarts, iterations, seed)

    def save_trunk(self, path: str | os.PathLike, stream: str) -> None:
        """Writes a trunk's weights and statistics to an .npz file, which `init_from` takes."""
        self._check(stream)
        save_trunk(home(os.fspath(path)), stream, jax.device_get(self.variables))

    def _extract(
        self, source, stream, layers, clips, pool, average, times, facts, baseline
    ) -> Features:
        def read(record):
            at = times(record) if times else self.method.times(record, stream, clips)
            own = self.method.clips(record, stream, at)
            noted = facts(record) if facts else {}
            return {
                **{f"clip {name}": values for name, values in own.items()},
                **{f"fact {name}": np.asarray(value) for name, value in noted.items()},
                "label": np.int64(record.label),
                "index": np.int64(record.index),
                "group": np.int64(group_of(record)),
            }

        processes, process = jax.process_count(), jax.process_index()
        unit = self.mesh.size
        rows = max(1, self.batch_size // clips // unit) * unit // processes
        # Whole maps are large: the others are not even computed. Small ones come all, so that the
        # program serves whoever asks for others.
        encode = self._encoder(stream, pool, layers if pool == "whole" else (), baseline)
        gathered = Gathered(len(range(process, len(source), processes)), self.memory)
        names = []
        for batch, valid in record_batches(source, read, rows, self.loading, process, processes):
            inputs = {k[5:]: batch.pop(k) for k in [*batch] if k.startswith("clip ")}
            for name, values in inputs.items():
                if values.shape[1] != clips:
                    raise ConfigError(
                        f"'{name}' has {values.shape[1]} inputs a record where clips={clips}"
                    )
            flat = {k: v.reshape(-1, *v.shape[2:]) for k, v in inputs.items()}
            out = encode(self.variables, put_batch(self.mesh, flat))
            _check_layers(layers, out, stream)
            names = layers or tuple(out)
            self.layers_read.update(names)
            local = {name: local_rows(out[name]) for name in names}
            local = {k: v.reshape(rows, clips, -1)[:valid] for k, v in local.items()}
            local = {k: v.mean(1) for k, v in local.items()} if average else local
            local = {f"layer {k}": v.astype(np.float32) for k, v in local.items()}
            gathered.add(local | {k: v[:valid] for k, v in batch.items()})
        if processes > 1:
            gathered = of_all_hosts(gathered.arrays(), len(source), self.memory)
        whole = gathered.sorted_by("index")
        return Features(
            layers={name: whole[f"layer {name}"] for name in names},
            labels=np.asarray(whole["label"]),
            indices=np.asarray(whole["index"]),
            groups=np.asarray(whole["group"]),
            facts={k[5:]: np.asarray(v) for k, v in whole.items() if k.startswith("fact ")},
            source=source,
            trained_names=self.trained_names,
        )

    def _encoder(
        self, stream: str, pool: str, some: tuple[str, ...] = (), baseline: Callable | None = None
    ):
        """A jitted function of (variables, inputs): the layers, from the input up, or only some."""
        key = (stream, pool, some, baseline)
        if key not in self._compiled:
            order: list[str] = []  # jit sorts the keys of a dict; this is written when it traces

            def layers(variables, inputs):
                out = _encode(self.method, stream, pool, variables, inputs, baseline)
                if some:
                    _check_layers(some, out, stream)
                    out = {name: out[name] for name in some}
                order[:] = out
                return out

            rows, whole = by_rows(self.mesh), replicated(self.mesh)
            # Maps that are not pooled are few, and wanted whole on every host.
            to = rows if pool else whole
            jitted = jax.jit(layers, in_shardings=(whole, rows), out_shardings=to)

            def encode(variables, inputs):
                out = jitted(variables, inputs)
                return {name: out[name] for name in order}

            self._compiled[key] = encode
        return self._compiled[key]

    def _check(self, stream: str) -> None:
        if stream not in self.method.streams:
            known = ", ".join(self.method.streams)
            raise ConfigError(f"the method has no stream '{stream}'; it has {known}")


def _state(variables: dict) -> dict:
    return {name: tree for name, tree in variables.items() if name != "params"}


def _check_layers(layers: Sequence[str], found: Iterable[str], stream: str) -> None:
    missing = [name for name in layers if name not in found]
    if missing:
        raise ConfigError(f"no layer '{missing[0]}' in {stream}; it has {', '.join(found)}")


def _encode(
    method: Method,
    stream: str,
    pool: str,
    variables: dict,
    inputs: dict,
    baseline: Callable | None = None,
) -> dict:
    """The layers, from the input up. A fused stream has an input for each entry it takes."""
    names = method.streams[stream]
    own = {
        "input" if len(names) == 1 else f"input_{name}": method.prepare(name, scaled(inputs[name]))
        for name in names
    }
    own = {name: baseline(x) for name, x in own.items()} if baseline else own
    layers = {**own, **method.encode(variables, stream, inputs)}
    if not pool:
        return layers
    reduced = {name: reduced_rows(x, pool) for name, x in layers.items()}
    if len(names) > 1:  # one raw baseline
        parts = [reduced.pop(name) for name in own]
        reduced = {"input": jnp.concatenate(parts, axis=1), **reduced}
    return reduced
