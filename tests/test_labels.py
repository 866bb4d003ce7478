"""Two sets are compared by the names of their classes; what has no label is left out."""

import dataclasses

import numpy as np
import pytest
from computed import Computed, facts_of, features
from PIL import Image

from ssl_jax.config import ConfigError
from ssl_jax.data.labels import check_labelled, numbered_as, renumbered
from ssl_jax.data.sources.files import FilesSource
from ssl_jax.data.sources.folder import FolderSource
from ssl_jax.data.sources.mix import Mix
from ssl_jax.devices.sharding import Sharding
from ssl_jax.evals.clip_retrieval import ClassRetrieval
from ssl_jax.evals.finetuned import Classification, SeveralClasses
from ssl_jax.evals.knn import Knn
from ssl_jax.evals.linear import Linear
from ssl_jax.evals.low_shot import LowShot, VocLowShot
from ssl_jax.evals.ridge import Ridge
from ssl_jax.evals.svm import Svm, VocSvm
from ssl_jax.evaluator import Read
from ssl_jax.features import comparable, labelled

CLASSES = ("ape", "bear", "cat", "dog")


@pytest.fixture(scope="module")
def mesh():
    return Sharding().mesh()


def folder(root, names, each=4):
    """Images of a colour a class, so that everything tells the classes apart."""
    for name in names:
        (root / name).mkdir(parents=True)
        for i in range(each):
            Image.new("RGB", (4, 4), (60 * CLASSES.index(name), i, 0)).save(
                root / name / f"{i}.png"
            )
    return FolderSource(str(root))


def read(source):
    """Features of a source: a distinct corner for each class, by the folder it lies in."""
    place = [CLASSES.index(record.name.split("/")[-2]) for record in source]
    rows = np.eye(4)[place] + 1e-3 * np.random.default_rng(len(source)).normal(size=(len(place), 4))
    found = features([record.label for record in source], pool=rows)
    return dataclasses.replace(found, source=source)


@dataclasses.dataclass(frozen=True)
class Net:
    """Stands for a frozen network: features of a source without any network."""

    mesh: object

    def features(self, source, stream, layers=(), clips=1, pool="max", average=True, facts=None):
        found = read(source)
        if facts:
            found = dataclasses.replace(found, facts=facts_of(source, found.indices, facts))
        if average:
            return found
        windows = {name: rows[:, None] for name, rows in found.layers.items()}
        return dataclasses.replace(found, layers=windows)


EVALUATORS = [
    lambda train, test: Knn(train, test, k=3),
    lambda train, test: ClassRetrieval(train, test, Read(), ks=(1,)),
    lambda train, test: Ridge(train, test),
    lambda train, test: Linear(train, test, l2=(1e-3,)),
    lambda train, test: LowShot(train, test, shots=(2,), draws=2, classifier="nearest"),
    lambda train, test: Svm(train, test, Read(clips=1), costs=(1.0,)),
]


@pytest.mark.parametrize("evaluator", EVALUATORS)
def test_names_decide_where_numbers_differ(tmp_path, mesh, evaluator):
    train = folder(tmp_path / "train", ("ape", "bear", "cat"))
    for names, right in (
        (("ape", "bear", "cat"), 1),
        (("bear", "cat"), 1),
        (("cat",), 1),
        (("bear", "cat", "dog"), 2 / 3),
        (("ape", "cat", "dog"), 2 / 3),
    ):
        test = folder(tmp_path / "-".join(names), names)
        made = evaluator(train, test)
        made.check(Net(mesh))
        results = dict(made.run(Net(mesh)))
        hits = next(value for key, value in results.items() if key.startswith("pool"))
        assert hits == pytest.approx(right), names


@pytest.mark.parametrize(
    "evaluator",
    [
        lambda train, test: VocSvm(train, test, costs=(1.0,)),
        lambda train, test: VocLowShot(train, test, shots=(1,), samples=2, costs=(1.0,)),
    ],
)
def test_names_decide_also_where_records_may_show_several_classes(tmp_path, mesh, evaluator):
    train = folder(tmp_path / "train", ("bear", "cat"))
    made = evaluator(train, folder(tmp_path / "test", ("ape", "bear", "cat")))
    made.check(Net(mesh))
    results = dict(made.run(Net(mesh)))
    # An ape is neither, and lies farther from both.
    assert next(value for key, value in results.items() if key.startswith("pool")) == 1
    assert results["chance"] == pytest.approx(1 / 3)
    others = folder(tmp_path / "others", ("dog",))
    with pytest.raises(ConfigError, match=r"none of its classes \(dog\) is one of train"):
        evaluator(train, others).check(Net(mesh))


def test_a_head_for_several_classes_is_judged_by_their_names(tmp_path, caplog):
    source = folder(tmp_path, ("ape", "bear", "cat"), each=2)
    heads = np.concatenate([np.zeros((2, 2)), np.eye(2)[[1, 1, 0, 0]]])[:, None] * 9.0
    found = features([0, 0, 1, 1, 2, 2], head=heads)
    for names, right in ((("cat", "bear"), True), (("bear", "cat"), False)):
        known = dataclasses.replace(found, source=source, trained_names=lambda names=names: names)
        results = dict(SeveralClasses(source).run(Computed(((source, known),))))
        assert (results["sigmoid"] == 1) == right
    assert "2 of 6 records show classes that were not learned" in caplog.text
    assert "first class ape" in caplog.text


def test_a_csv_a_folder_and_a_mix_are_compared_by_name(tmp_path):
    folder(tmp_path / "a", ("ape", "bear", "cat"))
    folder(tmp_path / "b", ("bear", "dog"))
    (tmp_path / "all.csv").write_text("path,label\nb/dog/0.png,dog\nb/bear/0.png,bear\n")
    listed = FolderSource(str(tmp_path), manifest="all.csv")
    one, two = FolderSource(str(tmp_path / "a")), FolderSource(str(tmp_path / "b"))
    mix = Mix((two, one))
    assert mix.label_names == ("bear", "dog", "ape", "cat")
    for record in mix:
        assert mix.label_names[record.label] == record.name.split("/")[0]
    for train in (mix, one, two, listed):
        for test in (mix, one, two, listed):
            known, asked = comparable(read(train), read(test))
            truth = [record.name.split("/")[-2] for record in test]
            own = {record.name.split("/")[-2] for record in train}
            named = dict(zip(known.labels, [r.name.split("/")[-2] for r in train], strict=False))
            for label, name in zip(asked.labels.tolist(), truth, strict=True):
                assert (named[label] == name) if name in own else (label not in named)


def test_numbers_and_names_of_classes(caplog):
    labels = np.array([0, 2, -1, 1])
    assert renumbered(labels, (), ()).tolist() == [0, 2, -1, 1]
    assert renumbered(labels, ("0", "1", "2"), ()).tolist() == [0, 2, -1, 1]
    assert renumbered(labels, ("a", "b", "c"), ("c", "a")).tolist() == [1, 0, -1, 3]
    # Folders called 1, 10, 2 beside a list of the numbers themselves.
    assert renumbered(labels, ("1", "10", "2"), ()).tolist() == [1, 2, -1, 10]
    assert renumbered(np.array([10, 1, -1]), (), ("1", "10", "2")).tolist() == [1, 0, -1]
    # An accent written in two ways.
    assert renumbered(np.array([0]), ("caf\u00e9",), ("bar", "cafe\u0301")).tolist() == [1]
    assert not caplog.records
    assert renumbered(labels, ("a", "b", "c"), ()).tolist() == [0, 2, -1, 1]
    assert "the classes of train have numbers only" in caplog.text
    with pytest.raises(ConfigError, match="label 2 has no name"):
        renumbered(labels, ("a", "b"), ("a", "c"))
    huge = np.array([10**9, 0])
    assert renumbered(huge, (), ("1000000000", "x")).tolist() == [10**9, 0]


def test_unlabelled_records_are_left_out_and_counted(tmp_path, mesh, caplog):
    folder(tmp_path, ("ape", "bear"), each=6)
    Image.new("RGB", (4, 4)).save(tmp_path / "preview.png")
    source = FolderSource(str(tmp_path))
    assert [record.label for record in source].count(-1) == 1
    labels = np.array([record.label for record in source])
    rows = np.random.default_rng(0).normal(size=(len(source), 3)) + 9 * labels[:, None]
    found = dataclasses.replace(features(labels, pool=rows), source=source)
    frozen = Computed(((source, found),), mesh)
    for evaluator in (Knn(source, source, k=1), Ridge(source, source)):
        assert dict(evaluator.run(frozen))["pool"] == 1
    (line,) = [record.getMessage() for record in caplog.records]
    assert line.endswith("1 of 13 records have no label and are left out: preview.png")
    kept = labelled(found)
    assert -1 not in kept.labels
    assert len(kept.layers["pool"]) == len(kept.indices) == 12


def test_sources_that_cannot_be_compared_are_refused_before_training(tmp_path):
    train = folder(tmp_path / "train", ("ape", "bear"))
    other = folder(tmp_path / "other", ("cat", "dog"))
    flat = FolderSource(str(tmp_path / "train" / "ape"))
    files = FilesSource((str(tmp_path / "train" / "ape" / "0.png"),))
    check_labelled(train, train)
    for source in (flat, files, Mix((flat, files))):
        with pytest.raises(ConfigError, match=r"^test: no record of .* has a label"):
            check_labelled(source, train)
        with pytest.raises(ConfigError, match=r"^train: no record of .* has a label"):
            Knn(source, train, k=1).check(None)
    with pytest.raises(ConfigError, match=r"none of its classes \(cat, dog\) is one of train"):
        check_labelled(other, train)


def test_a_head_is_judged_by_the_names_that_it_was_trained_on(tmp_path, caplog):
    source = folder(tmp_path, ("bear", "cat", "dog"), each=1)
    heads = np.eye(3)[[1, 2, 0]][:, None] * 9.0  # trained on ape, bear, cat
    found = dataclasses.replace(
        features([0, 1, 2], head=heads),
        source=source,
        trained_names=lambda: ("ape", "bear", "cat"),
    )
    results = dict(Classification(source, clips=1).run(Computed(((source, found),))))
    assert results["softmax"] == results["logits"] == results["one clip"] == pytest.approx(2 / 3)
    assert results["chance"] == pytest.approx(1 / 3)
    assert "1 of 3 records are of classes that the head was not trained on" in caplog.text
    assert "first class dog" in caplog.text


def test_a_source_in_the_numbering_of_other_names(tmp_path):
    source = folder(tmp_path, ("bear", "cat", "dog"), each=1)
    assert [r.label for r in numbered_as(source, ("ape", "bear", "cat"))] == [1, 2, -1]
    assert numbered_as(source, source.label_names) is numbered_as(source, ()) is source
