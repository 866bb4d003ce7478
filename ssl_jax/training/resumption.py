"""What a run resumes from, and whether it may: its own newest checkpoint or another run's."""

import dataclasses
import os
import shutil
import sys

import jax
from ml_collections import ConfigDict

from ssl_jax import config as configs
from ssl_jax.config import ConfigError
from ssl_jax.experiment import Experiment
from ssl_jax.training.changed_knobs import below, changed_knobs, listed
from ssl_jax.training.checkpoint import TrainState, newest_step
from ssl_jax.training.kept_tokenizers import check_tokenizers, only_moved

# Batch k is a function of the first two, so a change would skip or repeat records; with the third,
# half of a run would be a control.
KEPT = ("batch_size", "seed", "control")
# These change nothing that is trained.
FREE = ("evaluators", "eval_batch_size", "eval_memory")
# Nor do these, or not after step 1; all others of a finished run would be said to have trained it.
HARMLESS = (
    *("data", "sharding", "checkpoints", "log_every", "profile", "peak_tflops", "steps"),
    *("resume", "init_from", "init_images"),
)


@dataclasses.dataclass(frozen=True)
class Resumption:
    """The run that is resumed.

    Attributes:
      folder: its workdir.
      config: what it was trained with until now; None if it has no config.json.
      changes: the knobs that differ now, see `changed_knobs`.
    """

    folder: str
    config: ConfigDict | None
    changes: dict[str, str]

    @staticmethod
    def of(config: ConfigDict, experiment: Experiment, workdir: str) -> "Resumption | None":
        """None for a run that starts afresh. Only reads.

        Raises ConfigError if there is less than nothing left to train, or nothing with the knobs
        that were changed, for a knob that a run keeps to its end, and for another tokenizer.
        """
        folder, step, what = workdir, newest_step(workdir), f"workdir {workdir}"
        if step is None and experiment.resume:
            folder, what = experiment.resume, f"resume={experiment.resume}"
            step = newest_step(folder)
        check_tokenizers(config, folder if step is not None else "")
        if step is None:
            return None
        steps = experiment.steps
        if step > steps:
            raise ConfigError(
                f"{what} is at step {step}: steps={steps} leaves nothing to train; "
                "`python -m ssl_jax.evaluate --step` evaluates an earlier checkpoint"
            )
        path = os.path.join(folder, "config.json")
        before = configs.read(path) if os.path.isfile(path) else None
        changes = changed_knobs(before, config) if before is not None else {}
        refused = below(changes, *KEPT)
        if refused:
            raise ConfigError(
                f"{folder} was trained with other knobs, which a run keeps to its end: "
                f"{listed(refused)}; keep them, or begin a run in a new --workdir "
                f"(init_from={folder} takes its trunks)"
            )
        free = below(changes, *FREE, *(("resume",) if folder != workdir else ()))
        changes = {k: v for k, v in changes.items() if k not in free}
        harmless = {**below(changes, *HARMLESS), **only_moved(changes, config)}
        late = {k: v for k, v in changes.items() if k not in harmless}
        if step == steps and late:
            raise ConfigError(
                f"{what} is at step {step}: steps={steps} leaves nothing to train with other "
                f"knobs: {listed(late)}; raise steps, or keep them"
            )
        return Resumption(folder, before, changes)

    def report(self, experiment: Experiment, state: TrainState) -> None:
        """Says on stderr what has changed and, if its schedule has, what the rate does."""
        if not self.changes:
            return
        step, rate = int(state.step), self._rates(experiment, state)
        print(
            f"ssl_jax: {self.folder} resumes at step {step} with other knobs: "
            f"{listed(self.changes)}{rate}",
            file=sys.stderr,
            flush=True,
        )

    def _rates(self, experiment: Experiment, state: TrainState) -> str:
        steps, count = experiment.steps, int(state.optimizer.count)
        if not count or not below(self.changes, "optimizer", "steps"):
            return ""
        # On the host: this process alone computes, and the state may lie on several.
        carried = jax.device_get(state.optimizer._replace(rule=()))
        new = experiment.optimizer.rate_at(count, steps, carried)
        try:
            optimizer = configs.build(self.config.optimizer)
            planned = optimizer.rate_at(count, self.config.steps, carried)
            last = optimizer.rate_at(count - 1, self.config.steps, carried)
        except ConfigError:  # its schedule is gone from the code
            return f"; the next learning rate is {float(new):.4g}"
        if planned == new:
            return ""
        return f"; the learning rate goes from {float(last):.4g} to {float(new):.4g}"

    def keep_config(self, workdir: str, step: int) -> None:
        """Copies workdir/config.json to config_until_STEP.json if it is about to change."""
        path = os.path.join(workdir, "config.json")
        aside = os.path.join(workdir, f"config_until_{step}.json")
        # One that is there is right: what followed it was lost before its first checkpoint.
        if self.changes and self.folder == workdir and not os.path.exists(aside):
            shutil.copyfile(path, f"{aside}.part")
            os.replace(f"{aside}.part", aside)
