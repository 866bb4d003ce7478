"""A teacher's soft labels of what is seen: the command `python -m ssl_jax.soft_labels`.

--config=FILE[:variant]   of the run that will learn them (see `TeacherStudent`)
--workdir=DIR             of the teacher, a trained run for images

A linear probe of the teacher's last layer, trained on the labels of the config's source, says for
every segment of every record how likely each class is.
"""

import functools
import os
from collections.abc import Callable

import jax
import numpy as np
import scipy.special
from jaxtyping import Float, Int, UInt8
from ml_collections import ConfigDict

from ssl_jax import command
from ssl_jax import config as configs
from ssl_jax.config import ConfigError
from ssl_jax.data.annotations import fingerprint, fingerprint_fact
from ssl_jax.data.pipeline import Loading
from ssl_jax.data.record import Record, Source
from ssl_jax.data.record_batches import record_batches
from ssl_jax.data.soft_labels_file import write_soft_labels
from ssl_jax.experiment import Experiment
from ssl_jax.features import Features, labelled
from ssl_jax.methods.audio.teacher_student import TeacherStudent
from ssl_jax.solvers import logistic
from ssl_jax.solvers.probe import finite_rows, scores_of, standardise
from ssl_jax.training.differing_arrays import naming_unfit_arrays
from ssl_jax.training.trained import load

L2 = 1e-3  # of the probe, relative to the mean loss

Teacher = Callable[[UInt8[np.ndarray, "n h w 3"]], Float[np.ndarray, "n k"]]


def soft_labels(
    config: ConfigDict, teacher: str | os.PathLike
) -> tuple[Float[np.ndarray, "r n k"], Int[np.ndarray, "r"]]:
    """What a probe of the run `teacher` says of the config's source; writes the file it names.

    Returns the probabilities of the records that can be read, and their numbers. Raises ConfigError
    if the config is of another method or names not one file, or for a source without labels.
    """
    experiment: Experiment = configs.build(config)
    method, source = experiment.method, experiment.source
    if not isinstance(method, TeacherStudent) or len(method.soft_labels) != 1:
        raise ConfigError("the config should be of a TeacherStudent with one file in soft_labels")
    frozen = load(teacher)
    stream, count = frozen.method.trunks[0], method.segments
    times = functools.partial(method.segment_times, count=count)
    settings = {"clips": count, "pool": "global", "average": False}
    with naming_unfit_arrays(teacher):
        found = frozen.features(source, stream, times=times, facts=fingerprint_fact, **settings)
    layer, known = next(reversed(found.layers)), labelled(found, "source")

    def rows_of(features: Features) -> np.ndarray:
        """A row for each segment of each record."""
        values = features.layers[layer]
        return finite_rows(
            layer, values.reshape(-1, values.shape[-1]), features.indices.repeat(count)
        )

    names, labels = np.unique(known.labels, return_inverse=True)
    x, rows = standardise(rows_of(known), rows_of(found))
    scores = scores_of(logistic.fit, x, labels.repeat(count), rows, len(names), L2)
    probabilities = scipy.special.softmax(scores, axis=1).reshape(-1, count, len(names))
    _write(
        method.soft_labels[0], len(source), probabilities, found.indices, found.facts["fingerprint"]
    )
    return probabilities, found.indices


def write_of(
    path: str,
    method: TeacherStudent,
    source: Source,
    teacher: Teacher,
    loading: Loading = Loading(),
) -> None:
    """Writes what any function of frames says of every record: a teacher without a run.

    Args:
      path: of the file.
      method: whose segments of audio these are.
      teacher: of frames (n h w 3) as they are stored the probabilities of k classes (n k).
    """

    count = method.segments

    def read(record: Record) -> dict:
        frames = [record.frame_at(time) for time in method.segment_times(record, count)]
        said = teacher(record.need_frames()(frames))
        own = {"record": np.int64(record.index), "name": np.uint32(fingerprint(record.name))}
        return {"said": np.asarray(said, np.float32), **own}

    batches = [
        {k: v[:valid] for k, v in batch.items()}
        for batch, valid in record_batches(source, read, 64, loading)
    ]
    found = {k: np.concatenate([batch[k] for batch in batches]) for k in batches[0]}
    _write(path, len(source), found["said"], found["record"], found["name"])


def _write(path: str, records: int, said, numbers, names) -> None:
    labels, prints = np.zeros((records, *said.shape[1:]), np.float32), np.zeros(records, np.uint32)
    labels[numbers], prints[numbers] = said, names
    if jax.process_index() == 0:
        write_soft_labels(path, labels, prints)
        sure = said.max(axis=-1).mean()
        print(
            f"{said.shape[2]} classes in {said.shape[1]} segments of {len(said)} records, the "
            f"likeliest with {sure:.2f} on average; written to {path}"
        )


def main(arguments: command.Arguments) -> None:
    """Labels by the command line's config and the teacher's workdir."""
    soft_labels(arguments.config, arguments.workdir)


if __name__ == "__main__":
    command.run(main, "soft_labels")
