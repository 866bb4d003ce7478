"""Trunks of texts of another run: taken with the same tokenizer only."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import ConfigDict

from ssl_jax import config as configs
from ssl_jax.config import ConfigError, call
from ssl_jax.data.tokenizers import Words
from ssl_jax.training import start
from ssl_jax.training.checkpoint import TrainState
from ssl_jax.training.kept_tokenizers import keep_tokenizers

TABLE = np.float32([[0, 0], [1, 1], [2, 2]])


def config_of(path, init_from=""):
    config = configs.load("text/word_vectors_text8.py:tiny")
    config.method.text.width = 2
    config.method.tokenizer = call(Words, path=str(path))
    with config.ignore_type():
        config.init_from = init_from
    return config


def test_vectors_of_other_words_are_refused_and_of_the_same_taken(tmp_path, monkeypatch):
    first, same, other = (tmp_path / f"{name}.txt" for name in ("first", "same", "other"))
    first.write_text("cat 5\ndog 4\n")
    same.write_text("cat 5\ndog 4\n")
    other.write_text("dog 5\ncat 4\n")
    run = str(tmp_path / "run")
    keep_tokenizers(ConfigDict({"method": config_of(first).method, "resume": ""}), run)
    # Of the run only the tokenizer lies there: training one takes long.
    trunks = {"text": {"params": {"embedding": TABLE}}}
    monkeypatch.setattr(start, "trunks_of", lambda where, method: trunks)

    def taken(path, init_from):
        config = config_of(path, init_from)
        params = {"text": {"embedding": np.zeros((3, 2), np.float32)}, "output": np.zeros((3, 2))}
        state = TrainState(jnp.zeros((), jnp.int32), jax.random.key(0), params, {}, ())
        found = start.with_trunks(state, configs.build(config), config)
        return found.params["text"]["embedding"]

    np.testing.assert_array_equal(taken(same, run), TABLE)
    for init_from in (run, {"text": f"{run}:text"}):
        with pytest.raises(ConfigError, match=r"init_from: text of .*run.*first.txt.*other.txt"):
            taken(other, init_from)
    # A folder that kept none, such as of a weights file, is taken as it is.
    np.testing.assert_array_equal(taken(other, str(tmp_path / "weights.npz")), TABLE)
