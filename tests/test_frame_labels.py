"""Labels of moments: what their files may say, and the probe of single steps."""

import dataclasses
import types
from pathlib import Path
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ssl_jax.config import ConfigError
from ssl_jax.data.annotations import fingerprint
from ssl_jax.data.frame_labels import NONE, frame_labels_of, read_frame_labels
from ssl_jax.data.pipeline import Loading
from ssl_jax.data.record import MediaError, Record
from ssl_jax.devices.sharding import Sharding
from ssl_jax.evals.frame_labels import FrameLabels
from ssl_jax.evaluator import Read
from ssl_jax.frozen import Frozen
from ssl_jax.method import Method

RATE, SAMPLES, STEP = 8000, 4000, 400  # half a second, ten steps


def write(file: Path, *rows: str) -> str:
    file.write_text("\n".join(rows) + "\n")
    return str(file)


# Files


def test_spans_are_read_by_file_and_nothing_is_between_them(tmp_path):
    file = write(
        tmp_path / "phones.csv",
        *("File,begin_,start,end,label", "b.wav,,0.5,0.75,ah", "a/b.flac,,1,2,s"),
        *("b.wav,,0.1,0.5,s", "b.wav,,0.9,1.0,", "c,,0,1,t"),
    )
    found = read_frame_labels(file)
    assert set(found) == {"b.wav", "a/b.flac", "c"}
    times = np.array([[0.0, 0.1, 0.49], [0.5, 0.75, 0.95]])
    s, ah = fingerprint("s"), fingerprint("ah")
    expected = [[NONE, s, s], [ah, NONE, NONE]]
    np.testing.assert_array_equal(found["b.wav"].at(times), expected)
    assert found["b.wav"].line == 2
    labels = frame_labels_of(file)
    named = {
        name: labels.of(Record(name, 0, 0, 0.0)) for name in ("a/b.flac", "x/b.wav", "d/c.ogg", "e")
    }
    assert {k: v and v.line for k, v in named.items()} == {
        "a/b.flac": 3,
        "x/b.wav": 2,
        "d/c.ogg": 6,
        "e": None,
    }


def test_words_that_mean_nothing_in_tables_are_labels(tmp_path):
    words = ("none", "na", "null", "NaN")
    rows = [f"a,{k},{k + 1},{word}" for k, word in enumerate(words)]
    found = read_frame_labels(write(tmp_path / "words.csv", "file,start,end,label", *rows))
    assert found["a"].at(np.arange(4) + 0.5).tolist() == [fingerprint(word) for word in words]


def test_a_csv_may_lie_beside_each_file(tmp_path):
    write(tmp_path / "a.csv", "start,end,label", "0,1,x")
    write(tmp_path / "b.csv", "file,start,end,label", "b,0,1,x")
    labels = frame_labels_of(".csv")
    records = [Record(n, 0, 0, 0.0, extra={"path": str(tmp_path / f"{n}.wav")}) for n in "abc"]
    assert labels.of(records[0]).at(np.array([0.5, 1.5])).tolist() == [fingerprint("x"), NONE]
    assert labels.of(records[2]) is None
    with pytest.raises(ConfigError, match=r"b\.csv: a csv beside its audio file has no column"):
        labels.of(records[1])
    with pytest.raises(MediaError, match=r"d: has no file to find '\.csv' beside"):
        labels.of(Record("d", 0, 0, 0.0))


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (("a,0,1,x", "a,2,1.5,y"), r"\.csv:3: start=2 and end=1\.5 should be 0 <= start < end"),
        (("a,1,2,x", "b,1,2,x", "a,0,1.5,y"), r"\.csv:4: its span overlaps that of line 2"),
        (("a,0,one,x",), r"\.csv:2: end='one' is no number of seconds"),
        ((",0,1,x",), r"\.csv:2: names no file"),
        (("a,0,1,",), r"\.csv: holds no labelled span"),
        (("a,0,nan,x",), r"\.csv:2: start=0 and end=nan should be"),
    ],
)
def test_spans_that_make_no_sense_are_refused_by_line(tmp_path, rows, message):
    file = write(tmp_path / "a.csv", "file,start,end,label", *rows)
    with pytest.raises(ConfigError, match=message) as error:
        frame_labels_of(file)
    assert "\n" not in str(error.value)


def test_columns_that_are_not_there_are_refused(tmp_path):
    with pytest.raises(ConfigError, match="needs the columns start, end and label"):
        frame_labels_of(write(tmp_path / "a.csv", "file,from,to,what", "a,0,1,x"))
    with pytest.raises(ConfigError, match="needs the column 'file'"):
        frame_labels_of(write(tmp_path / "a.csv", "start,end,label", "0,1,x"))
    with pytest.raises(ConfigError, match="rename it to 'label'"):
        frame_labels_of(write(tmp_path / "a.csv", "file,start,end,phone", "a,0,1,x"))


# The probe


@dataclasses.dataclass(frozen=True)
class Beeps:
    """A second of ten beeps, high or low; the csv says which, but for the last one."""

    size: int
    seed: int
    steady: bool = False  # all ten alike

    def __len__(self):
        return self.size

    def pitches(self, index):
        drawn = np.random.default_rng([self.seed, index]).integers(2, size=10)
        return drawn[:1].repeat(10) if self.steady else drawn

    def __getitem__(self, index):
        pitches = self.pitches(index)

        def audio(start, stop):
            times = np.arange(round(start * RATE), round(stop * RATE)) / RATE
            pitch = np.where(pitches[np.minimum((times * 10).astype(int), 9)], 2000, 500)
            return np.sin(2 * np.pi * pitch * times).astype(np.float32)

        name = f"{self.seed}/{index}.wav"
        label = int(pitches[0])
        return Record(name, index, 0, 0.0, audio=audio, sample_rate=RATE, duration=1.0, label=label)

    def rows(self):
        for index in range(self.size):
            for k, pitch in enumerate(self.pitches(index)[:9]):
                span = f"{k / 10},{(k + 1) / 10}"
                yield f"{self.seed}/{index}.wav,{span},{'high' if pitch else 'low'}"


@dataclasses.dataclass(frozen=True)
class Counted(Beeps):
    """Notes whose audio is read."""

    reads: list = dataclasses.field(default_factory=list, compare=False)

    def __getitem__(self, index):
        record = super().__getitem__(index)

        def audio(start, stop):
            self.reads.append(index)
            return record.audio(start, stop)

        return dataclasses.replace(record, audio=audio)


@dataclasses.dataclass(frozen=True)
class Few:
    """Some records as a source."""

    records: tuple[Record, ...]

    def __len__(self):
        return len(self.records)

    def __getitem__(self, index):
        return self.records[index]


@dataclasses.dataclass(frozen=True)
class Roughness(Method):
    """Nothing is learnt: how much neighbouring samples differ, in steps of 50 ms.

    Windows are of half a second, with zeros behind the end of the audio.
    """

    sample_rate: int = RATE
    wanted: list = dataclasses.field(default_factory=list, compare=False)
    trunks: ClassVar = ()
    streams: ClassVar = {"context": ("audio",)}
    net = views = objective = None

    def step_times(self, stream):
        return tuple((np.arange(10) + 0.5) * STEP / RATE)

    def times(self, record, stream, count):
        return np.linspace(0, 0.5, count).tolist()

    def clips(self, record, stream, times):
        end = record.audible[1]
        read = [record.audio(t, min(end, t + SAMPLES / RATE)) for t in times]
        return {"audio": np.stack([np.pad(x, (0, SAMPLES - len(x))) for x in read])}

    def prepare(self, name, x):
        return x

    def encode(self, variables, stream, inputs):
        steps = inputs["audio"].reshape(-1, 10, STEP)
        rough = jnp.abs(jnp.diff(steps)).mean(-1, keepdims=True)
        ones = jax.ShapeDtypeStruct(rough.shape, rough.dtype)
        layers = {"context": rough, "still": jnp.zeros_like(rough), "mean": rough.mean(1)}
        return {**layers, "counted": jax.pure_callback(self.counted, ones, rough)}

    def counted(self, x):
        """Notes that somebody wants this layer."""
        self.wanted.append(len(x))
        return np.ones(x.shape, x.dtype)


@pytest.fixture(scope="module")
def frozen():
    mesh = Sharding(devices=1).mesh()
    return Frozen(Roughness(), {}, mesh, batch_size=16, loading=Loading(threads=1))


TRAIN, TEST = Beeps(10, 0), Beeps(6, 1)


def probe(layers=("context", "still"), **knobs):
    read = Read(stream="context", layers=layers, clips=2)
    return FrameLabels(TRAIN, TEST, read=read, **{"l2": (1e-3,), **knobs})


def test_steps_are_told_by_their_own_features(frozen, tmp_path, caplog):
    file = write(tmp_path / "l.csv", "file,start,end,label", *TRAIN.rows(), *TEST.rows(), "z,0,1,q")
    found = dict(probe(labels=file).run(frozen))
    assert found["context"] == found["input"] == 1.0
    truth = np.concatenate([TEST.pitches(k)[:9] for k in range(6)])
    train = np.concatenate([TRAIN.pitches(k)[:9] for k in range(10)])
    most = np.mean(truth == (train.mean() > 0.5))
    assert found["chance"] == found["still"] == pytest.approx(most)
    # Of twenty steps of a record two are in the last tenth, without a label.
    assert "train: 20 of 200 steps have no label and are left out" in caplog.text
    assert "l.csv:146: file 'z' is no record of train or test; that holds of 1 of" in caplog.text


def test_records_own_labels_are_those_of_all_their_steps(frozen):
    knobs = {"read": Read(stream="context", layers=("context",), clips=2), "l2": (1e-4, 1e-2)}
    train, test = Beeps(10, 2, steady=True), Beeps(7, 3, steady=True)
    found = dict(FrameLabels(train, test, **knobs, frames=150).run(frozen))
    truth = np.array([test[k].label for k in range(7)])
    assert 0 < truth.mean() < 1
    assert found.pop("chance") == pytest.approx(truth.mean())  # most training records are of 1
    assert found == {"input": 1.0, "context": 1.0}


def test_no_step_behind_the_end_of_the_audio_counts(frozen, tmp_path, caplog):
    def short(source):
        """Of 0.3 s, six of ten steps; the others would be of silence."""
        records = [source[k] for k in range(len(source))]
        return Few(tuple(dataclasses.replace(one, duration=0.3) for one in records))

    train, test = short(Beeps(10, 2, steady=True)), short(Beeps(7, 3, steady=True))
    read = Read(stream="context", layers=("context",), clips=1)
    file = write(
        tmp_path / "l.csv",
        "file,start,end,label",
        *(f"{one.name},0,9,{one.label}" for one in (*train.records, *test.records)),
    )
    for labels in ("", file):
        found = FrameLabels(train, test, labels, read=read, raw="log_mel", l2=(1e-4,)).run(frozen)
        assert dict(found)["context"] == 1.0
    assert "have no label" not in caplog.text


def test_features_are_read_once_and_only_those_asked_for(frozen, tmp_path):
    reads = Counted(10, 2, steady=True, reads=[]), Counted(7, 3, steady=True, reads=[])
    read = Read(stream="context", layers=("input", "context"), clips=2)
    one = FrameLabels(*reads, read=read, l2=(1e-3,))
    assert set(dict(one.run(frozen))) == {"input", "context", "chance"}
    assert frozen.method.wanted == []
    first = [len(source.reads) for source in reads]
    rows = [f"2/{k}.wav,0,1,{k % 2}" for k in range(10)] + ["3/0.wav,0,1,1"]
    file = write(tmp_path / "l.csv", "file,start,end,label", *rows)
    list(dataclasses.replace(one, labels=file, frames=50).run(frozen))
    # One record shows the shapes.
    again = [len(source.reads) for source in reads]
    assert again[1] == first[1]
    assert again[0] - first[0] < 10


def test_few_test_steps_are_drawn(frozen):
    read = Read(stream="context", layers=("context",), clips=2)
    train, test = Beeps(10, 2, steady=True), Beeps(7, 3, steady=True)
    assert 0 < np.mean([test[k].label for k in range(7)]) < 1  # so all of them give neither
    found = FrameLabels(train, test, read=read, l2=(1e-3,), test_frames=1).run(frozen)
    assert dict(found)["chance"] in (0.0, 1.0)


def test_what_cannot_be_probed_is_refused(frozen, tmp_path):
    with pytest.raises(ConfigError, match=r"no layer 'means' in context; it has input, context"):
        list(probe(("means",)).run(frozen))
    with pytest.raises(ConfigError, match=r"layer mean is \(1,\), not 10 steps of features"):
        probe(("mean",)).check(frozen)
    other = types.SimpleNamespace(method=types.SimpleNamespace())
    with pytest.raises(ConfigError, match="SimpleNamespace does not say which moments"):
        probe().check(other)
    file = write(tmp_path / "other.csv", "file,start,end,label", "x,0,1,a", "y,0,1,b")
    with pytest.raises(ConfigError, match=r"other\.csv:2: file 'x' is no record.* called '0/0"):
        list(probe(labels=file).run(frozen))
