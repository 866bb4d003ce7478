"""A run keeps its tokenizer: a copy in its workdir, and no other when it resumes."""

import dataclasses
import os
import shutil
from typing import ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny

from ssl_jax import train
from ssl_jax.config import ConfigError, call
from ssl_jax.data.sources.mix import Mix
from ssl_jax.data.sources.text import TextSource
from ssl_jax.data.sources.token_blocks import TokenBlocks
from ssl_jax.data.tokenizers import Bytes, Tokenizer, Words
from ssl_jax.data.tokens import need_tokens
from ssl_jax.devices.sharding import Sharding
from ssl_jax.evals.pretext import Pretext
from ssl_jax.evaluate import evaluate
from ssl_jax.experiment import Checkpoints
from ssl_jax.method import Method
from ssl_jax.training.trained import load, training_source


class MeanNet(nn.Module):
    text: nn.Module

    @nn.compact
    def __call__(self, batch, train: bool):
        return nn.Dense(1, name="head")(self.text(batch["text"], train)["pool"])[:, 0]


@dataclasses.dataclass(frozen=True)
class MeanToken(Method):
    """Predicts the mean of tokens from noisy ones."""

    text: nn.Module
    tokenizer: Tokenizer

    trunks: ClassVar[tuple[str, ...]] = ("text",)

    @property
    def net(self):
        return MeanNet(self.text)

    def views(self, record, rng):
        return {"text": need_tokens(record, 4).astype(np.float32)}

    def augment(self, batch, state, key):
        target = batch["text"].mean(1)
        return {
            "text": batch["text"] + jax.random.normal(key, batch["text"].shape),
            "target": target,
        }

    def objective(self, outputs, batch):
        error = jnp.mean((outputs - batch["target"]) ** 2)
        return error, {"error": error}


TEXT = " ".join(("to be or not to be that is the question " * 9).split())
VOCABULARY = "to 18\nbe 18\nor 9\nnot 9\nthat 9\nis 9\n"


def experiment(folder, tokenizer, **changes):
    """A run on the words of the folder's text."""
    source = call(TextSource, path=str(folder / "text.txt"))
    blocks = call(TokenBlocks, source=source, tokenizer=tokenizer, length=4)
    known = {
        "source": blocks,
        "method": call(MeanToken, text=call(tiny.TinyTrunk), tokenizer=tokenizer),
        "evaluators": {"pretext": call(Pretext, source=blocks, batch_size=8)},
        "checkpoints": call(Checkpoints, every_steps=2),
        "sharding": call(Sharding, devices=1),
        "steps": 4,
    }
    return tiny.experiment(**known | changes)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("words")
    (folder / "text.txt").write_text(TEXT)
    return folder


@pytest.fixture(scope="module")
def words(place):
    """A file that is gone once the run is done."""
    (place / "words.txt").write_text(VOCABULARY)
    return call(Words, path=str(place / "words.txt"))


@pytest.fixture(scope="module")
def done(place, words):
    """A finished run of four steps, with checkpoints of two and four; and its last state."""
    state = train.fit(experiment(place, words), place / "run")
    os.remove(words.path)
    return place / "run", state


@pytest.fixture
def halfway(done, tmp_path):
    """A copy of it that was stopped in mid-epoch, after two of its steps, on another machine."""
    run = shutil.copytree(done[0], tmp_path / "run")
    shutil.rmtree(run / "checkpoints" / "4")
    return run


def moved(tmp_path, content=VOCABULARY):
    (tmp_path / "elsewhere.txt").write_text(content)
    return call(Words, path=str(tmp_path / "elsewhere.txt"))


def same(first, second) -> bool:
    return tiny.distance(first.params, second.params) == 0.0


def test_an_equal_tokenizer_elsewhere_goes_on_to_the_same_bits(
    done, place, halfway, tmp_path, capsys
):
    config = experiment(place, moved(tmp_path))
    assert same(train.fit(config, halfway), done[1])
    assert "resumes at step 2 with other knobs: " in capsys.readouterr().err
    assert same(train.fit(config, halfway), done[1])  # nothing is left to train
    assert evaluate(config, halfway)["pretext/error"] > 0  # its method is the same


def test_the_copy_stands_in_for_a_file_that_is_gone(done, place, words, halfway):
    """The same config on another machine, where the run's folder alone was copied to."""
    config = experiment(place, words)
    assert same(train.fit(config, halfway), done[1])
    assert evaluate(config, halfway)["pretext/error"] > 0
    kept = load(halfway).method.tokenizer
    assert kept.path.startswith(str(halfway))
    assert kept.encode("be that").tolist() == [2, 5]
    assert len(training_source(halfway)) == 9 * 8 // 4  # of ten words two are unknown


def test_a_run_is_loaded_with_its_own_copy_whatever_lies_at_the_path(done, words):
    with open(words.path, "w") as file:
        file.write("be 1\n")
    try:
        assert load(done[0]).method.tokenizer.encode("be that").tolist() == [2, 5]
    finally:
        os.remove(words.path)


def test_another_tokenizer_is_refused_by_name_and_hash(place, halfway, tmp_path):
    other = moved(tmp_path, "be 18\nto 18\n")
    old, new = (
        Words(str(p)).fingerprint
        for p in (next((halfway / "tokenizers").glob("*.txt")), tmp_path / "elsewhere.txt")
    )
    message = rf"was trained with \S+=Words\(.*words\.txt\) \({old}\), now it is Words\(.*{new}\)"
    before = sorted(os.listdir(halfway))
    for run, resume in ((halfway, ""), (tmp_path / "new", str(halfway))):
        with pytest.raises(ConfigError, match=message) as caught:
            train.fit(experiment(place, other, resume=resume, steps=6), run)
        assert "\n" not in str(caught.value)
    with pytest.raises(ConfigError, match=message):
        evaluate(experiment(place, other), halfway)
    assert sorted(os.listdir(halfway)) == before
    with pytest.raises(ConfigError, match=r"now it is Bytes\(\) \(bytes\)"):
        train.fit(experiment(place, call(Bytes)), halfway)


def test_method_and_sources_must_have_one_tokenizer(place, tmp_path):
    config = experiment(place, moved(tmp_path))
    mixed = call(Mix, sources=(config.source, config.source), weights=(1.0, 1.0))
    config = experiment(place, call(Bytes), source=mixed)
    message = r"source\.sources\.0\.tokenizer is Words\(.*\) but method\.tokenizer is Bytes\(\)"
    with pytest.raises(ConfigError, match=message):
        train.fit(config, tmp_path / "run")
