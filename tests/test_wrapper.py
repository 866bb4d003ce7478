"""A wrapper hands on every hook of `Method`, those to come too."""

import inspect

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny

from ssl_jax.config import ConfigError
from ssl_jax.data.sources.synthetic import SyntheticSource
from ssl_jax.method import Method, Refreshed
from ssl_jax.methods.control import Control
from ssl_jax.methods.wrapper import Wrapper

# Made of the other hooks, so that what a wrapper changes takes part.
COMPOSED = {"forward", "loss", "has_own_loss", "without_teachers", "with_dtype"}
HOOKS = sorted(name for name in vars(Method) if not name.startswith("_"))
ARGUMENTS = {
    **{name: {} for name in ("batch", "params", "state", "inputs", "variables", "metrics")},
    "key": jax.random.key(0),
    "record": SyntheticSource(size=1)[0],
    "source": SyntheticSource(size=1),
    "rng": np.random.default_rng(0),
    "x": jnp.zeros(2),
    "times": [0.0],
    "train": False,
    "change": nn.Module.clone,
    **dict.fromkeys(("records", "count"), 3),
    **dict.fromkeys(("stream", "name"), "vision"),
    **dict.fromkeys(("frozen", "outputs"), object()),
}
ANSWERS = {
    "trunks": ("touch",),
    "teachers": ("teacher",),
    "also_prepared": ("pair",),
    "rows_meet": True,
    "streams": {"touch": ("touch",)},
    "views": {"vision": np.zeros(2)},
    "clips": {"vision": np.zeros(2)},
    "net": tiny.TinyTrunk(),
    "objective": (jnp.zeros(()), {}),
    "outputs": ((), {}),
    "prepare": jnp.ones(2),
    "refresh": Refreshed(),
    "times": [1.0],
    "words": {"target": ["90°"]},
    "worry": "all is one",
    "map_trunks": tiny.MeanColour(tiny.TinyTrunk(), noise=0.5),
}


@pytest.mark.parametrize("name", [name for name in HOOKS if name not in COMPOSED])
def test_a_hook_reaches_the_method_inside(name):
    seen, answer = [], ANSWERS[name] if name in ANSWERS else {"vision": jnp.zeros(2)}

    def hook(self, *arguments):
        seen.append(arguments)
        return answer

    base = vars(Method)[name]
    inner = type("Inner", (tiny.MeanColour,), {name: hook if callable(base) else property(hook)})
    around = Wrapper(inner(tiny.TinyTrunk()))
    if not callable(base):
        assert getattr(around, name) is answer
        return
    given = [ARGUMENTS[one] for one in [*inspect.signature(base).parameters][1:]]
    found = getattr(around, name)(*given)
    assert (found.method if name == "map_trunks" else found) is answer
    assert all(mine is theirs for mine, theirs in zip(given, seen[0], strict=True))


def test_a_method_with_a_loss_of_its_own_is_refused():
    class Game(tiny.MeanColour):
        def loss(self, params, state, batch, key, train=True):
            return super().loss(params, state, batch, key, train)

    with pytest.raises(ConfigError, match="control: Game has a loss of its own"):
        Control(Game(tiny.TinyTrunk()), ("target",))
