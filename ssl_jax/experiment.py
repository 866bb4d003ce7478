"""Experiment: every knob of a run. A config file records one call of it."""

import dataclasses
from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
import numpy as np

from ssl_jax.config import ConfigError
from ssl_jax.data.pipeline import Loading, first_example
from ssl_jax.data.record import Source
from ssl_jax.devices.sharding import Sharding
from ssl_jax.evaluator import Evaluator
from ssl_jax.knobs import at_least, below, one_of
from ssl_jax.method import Method
from ssl_jax.methods.control import Control
from ssl_jax.optim import Optimizer
from ssl_jax.training.init_steps import init_steps


@dataclasses.dataclass(frozen=True)
class Checkpoints:
    """When to save, and what to keep. A checkpoint that any of the three rules names is kept.

    Attributes:
      every_steps: save each time this many steps are done; 0: by the clock only.
      every_minutes: save when the last checkpoint is this old; 0: by steps only. With several hosts
        the clock is looked at in steps that are logged.
      keep: newest checkpoints kept.
      keep_every: steps between checkpoints that are kept for ever; 0: none.
      keep_best: an evaluator's number as metrics.jsonl has it, such as 'knn/pool'; the checkpoint
        where it was largest is kept, or, with a minus before the name, where it was smallest. The
        evaluator must run during training (its `every`), and each time the state is saved too.
    """

    every_steps: int = 1000
    every_minutes: float = 10.0
    keep: int = 3
    keep_every: int = 0
    keep_best: str = ""

    def __post_init__(self):
        at_least(self, 0, "every_steps", "every_minutes", "keep_every")
        at_least(self, 1, "keep")


@dataclasses.dataclass(frozen=True)
class Experiment:
    """What `fit` trains and `evaluate` evaluates.

    Attributes:
      source: the training records.
      method: the self-supervised task.
      optimizer: rule, schedule and masks.
      steps: how many to take.
      batch_size: rows of the global batch, over all devices and hosts.
      micro_batches: parts in which a step takes its batch, one after another, to save memory.
      seed: of weights, order of records, views and augmentations.
      dtype: what the trunks compute in, float32 or bfloat16; weights stay float32.
      evaluators: run when their `every` says and at the end, by the name their results carry.
      eval_batch_size: rows at once when features are extracted.
      eval_memory: bytes of features kept for other evaluators, on each host. Beyond, the least used
        are dropped; those of one source that are more lie in a file.
      control: entries of the augmented batch to permute among its rows in training ('target',
        'audio', of several tasks 'rotation/target'): the method then has nothing true to learn, and
        must not beat chance.
      nonfinite: what a step does whose loss or gradient is not finite: 'stop' ends the run (what is
        saved is good), 'skip' leaves the weights and all else as they were, and counts.
      nonfinite_limit: with 'skip': how many such steps to tolerate before stopping.
      log_every: steps between lines of numbers.
      profile: first and last step to trace with JAX's profiler, such as (10, 13); () for none.
      peak_tflops: what a device can do, for the model FLOPs utilisation; 0: as its makers say (see
        ssl_jax/training/speed.py), in bfloat16.
      refresh_every: steps between calls of the method's `refresh`; 0: only before step 1.
      data, sharding, checkpoints: how the host reads, where arrays live, when to save.
      resume: another run's workdir to go on from (its full state), if this one has no checkpoint.
      init_from: where trunks come from if the run starts afresh: another run's workdir (of which
        all trunks of the same names are taken), or for each trunk, and each teacher, where it comes
        from: {'vision': 'runs/a', 'audio': 'runs/b:sound'} takes the trunk 'sound' of runs/b as
        'audio'. In place of a workdir, a weights file (.npz) that `Frozen.save_trunk` wrote; or
        'data:kmeans' (pca, zca, random, gaussian), weights made of what the trunk sees. After any
        of these '+data:rescale' balances the layers. See `solvers/data_dependent_init.py`.
      init_images: records, spread evenly over the source, that such steps look at.
    """

    source: Source
    method: Method
    optimizer: Optimizer
    steps: int
    batch_size: int
    micro_batches: int = 1
    seed: int = 0
    dtype: str = "float32"
    evaluators: Mapping[str, Evaluator] = dataclasses.field(default_factory=dict)
    eval_batch_size: int = 64
    eval_memory: int = 4 * 2**30
    control: tuple[str, ...] = ()
    nonfinite: str = "stop"
    nonfinite_limit: int = 100
    log_every: int = 50
    profile: tuple[int, ...] = ()
    peak_tflops: float = 0.0
    refresh_every: int = 0
    data: Loading = Loading()
    sharding: Sharding = Sharding()
    checkpoints: Checkpoints = Checkpoints()
    resume: str = ""
    init_from: str | Mapping[str, str] = ""
    init_images: int = 160

    def __post_init__(self):
        one_of(self, "dtype", ("float32", "bfloat16"))
        one_of(self, "nonfinite", ("stop", "skip"))
        at_least(self, 0, "steps", "seed", "refresh_every", "eval_memory")
        at_least(self, 0, "nonfinite_limit", "peak_tflops")
        at_least(self, 1, "batch_size", "micro_batches", "eval_batch_size", "log_every")
        at_least(self, 1, "init_images")
        below(self, 2**63, "seed")  # beyond, JAX takes no seed
        if self.profile and (len(self.profile) != 2 or not 1 <= self.profile[0] <= self.profile[1]):
            raise ConfigError(
                f"profile={self.profile} should be the first and last step, such as (10, 13)"
            )
        for name, evaluator in self.evaluators.items():
            if evaluator.every < 0:
                raise ConfigError(f"evaluators.{name}.every={evaluator.every} must be at least 0")
        if self.batch_size % self.micro_batches:
            raise ConfigError(
                f"batch_size={self.batch_size} must be a multiple of "
                f"micro_batches={self.micro_batches}"
            )
        asked = self.init_from
        for where in (asked,) if isinstance(asked, str) else asked.values():
            init_steps(where)  # are they spelt right?
        best = self.checkpoints.keep_best.removeprefix("-")
        if best and not self.best_evaluator:
            raise ConfigError(
                f"checkpoints.keep_best={best}: no evaluator of this name runs during training "
                "(its `every` must be more than 0)"
            )

    @property
    def best_evaluator(self) -> str:
        """The evaluator that `checkpoints.keep_best` goes by, '' if there is none."""
        name = self.checkpoints.keep_best.removeprefix("-").split("/")[0]
        return name if name in self.evaluators and self.evaluators[name].every else ""

    def due_evaluators(self, step: int) -> dict[str, Evaluator]:
        """The evaluators that run after this step of training."""
        every = self.evaluators.items()
        return {name: e for name, e in every if e.every and step % e.every == 0}

    def trained_method(self) -> Method:
        """The method in the run's dtype, its targets shuffled if the run is a control."""
        method = self.method.with_dtype(self.dtype)
        return Control(method, self.control) if self.control else method

    def initialiser(self) -> Callable[[], dict]:
        """A function without arguments, to be jitted, that makes the variables of step 0."""
        method, records = self.trained_method(), len(self.source)
        example = first_example(self.source, method.views, self.seed, self.data)
        # Two rows are enough to see every shape, and methods may pair a row with its neighbour.
        batch = {k: np.stack([v, v]) for k, v in example.items()}
        # Apart from the keys of the steps, which are folds of the same key by 0, 1, 2, ...
        key = jax.random.fold_in(jax.random.key(self.seed), np.uint32(2**32 - 1))
        return lambda: method.init(key, jax.tree.map(jnp.asarray, batch), records)
