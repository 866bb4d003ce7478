"""Methods with state, teachers and fused nets (`own_methods`): what the interface promises them."""

import inspect
import json
import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import own_methods
import pytest
import tiny

from ssl_jax import puzzles, train
from ssl_jax.config import ConfigError, call
from ssl_jax.data.sources.synthetic import SyntheticSource
from ssl_jax.devices.sharding import Sharding
from ssl_jax.evals.ridge import Ridge
from ssl_jax.evaluate import evaluate
from ssl_jax.evaluator import Read
from ssl_jax.experiment import Checkpoints
from ssl_jax.method import Method, run_collection
from ssl_jax.optim import Optimizer
from ssl_jax.training.micro_batches import loss_and_gradients
from ssl_jax.training.trained import load

HERE = os.path.dirname(__file__)
SHUFFLED = {"queue": "key", "clusters": "target", "fused": "target"}
CODE = (
    "import sys; sys.path.insert(0, sys.argv[1]); import conftest, test_state\n"
    "from ssl_jax.train import fit\n"
    "fit(test_state.experiment(sys.argv[2], **eval(sys.argv[4])), sys.argv[3])\n"
)


def experiment(name, **changes):
    """A run of seconds that saves at every second step, and refreshes at every third."""
    knobs = {
        "source": call(SyntheticSource, size=24, frames=2, height=32, width=32),
        "method": call(own_methods.METHODS[name]),
        "optimizer": call(Optimizer, name="adam", learning_rate=0.01),
        "refresh_every": 3,
        "steps": 8,
        "checkpoints": call(Checkpoints, every_steps=2, every_minutes=0.0, keep=9),
    }
    return tiny.experiment(**{**knobs, **changes})


@pytest.fixture(scope="module", params=list(own_methods.METHODS))
def trained(request, tmp_path_factory):
    workdir = tmp_path_factory.mktemp(request.param)
    return request.param, str(workdir), train.fit(experiment(request.param), str(workdir))


def same(first, second):
    assert tiny.distance(first.replace(key=0), second.replace(key=0)) == 0.0


def test_killed_between_a_refresh_and_the_next_save_it_resumes_to_the_same_bits(trained, tmp_path):
    """Step 3 refreshes, step 4 saves: the kill comes after step 3 is dispatched."""
    name, _, state = trained
    environment = {**os.environ, "PYTHONPATH": HERE}
    code = CODE.replace("fit(", "training_process.die_after(3); fit(", 1).replace(
        "test_state\n", "test_state, training_process\n"
    )
    command = [sys.executable, "-c", code, HERE, name, str(tmp_path), "{}"]
    end = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert end.returncode == -9, end.stderr
    assert sorted(os.listdir(tmp_path / "checkpoints")) == ["2"]
    same(train.fit(experiment(name), str(tmp_path)), state)


def test_state_is_saved_with_the_weights_and_moves(trained):
    name, workdir, state = trained
    variables = load(workdir).variables
    assert int(variables["run"]["step"]) == int(variables["run"]["steps"]) == 8
    first = load(workdir, step=2).variables
    kept = sorted(set(state.state) - {"batch_stats"})
    for collection in kept:
        assert tiny.distance(variables[collection], state.state[collection]) == 0.0
        assert tiny.distance(variables[collection], first[collection]) > 0
    assert kept == {"queue": ["queue", "slow"], "clusters": ["clusters"]}.get(name, [])


def test_a_control_micro_batches_and_drawing_work_for_all_of_them(trained, tmp_path):
    name, _, _ = trained
    config = experiment(name, steps=2, micro_batches=2, sharding=call(Sharding, devices=2))
    if name in SHUFFLED:
        config.control = (SHUFFLED[name],)
    train.fit(config, str(tmp_path / "control"))
    picture = np.asarray(puzzles.show(config, rows=2))
    assert picture.ndim == 3
    assert picture.std() > 0


def test_the_slow_copy_moves_after_the_update_by_the_momentum_of_the_step():
    method = own_methods.Queue(momentum=0.5)
    slow = {"params": {"w": jnp.zeros(2)}, "batch_stats": {}}
    state = {"slow": slow, "batch_stats": {}, "queue": {"entries": jnp.zeros((16, 4))}}
    batch = {"key": jnp.ones((8, 4))}
    for step, expected in ((0, 2.0), (5, 3.0)):  # momentum .5, then .75: slow = (1 - m) * 4 + m * s
        state |= run_collection(step, 10)
        state = method.after({"w": jnp.full(2, 4.0)}, state, batch, None)
        expected = 0.25 * 4 + 0.75 * 2 if step else expected
        np.testing.assert_allclose(state["slow"]["params"]["w"], expected)
    np.testing.assert_array_equal(state["queue"]["entries"], np.ones((16, 4)))


def test_after_a_refresh_the_head_and_its_moments_begin_again_and_nothing_else(tmp_path):
    config = experiment("clusters", steps=3)  # the last thing that happens is a refresh
    state = train.fit(config, str(tmp_path / "with"))
    config.refresh_every = 0
    without = train.fit(config, str(tmp_path / "without"))
    assert tiny.distance(state.params["vision"], without.params["vision"]) == 0.0
    assert tiny.distance(state.params["head"], without.params["head"]) > 0
    moments, others = (s.optimizer for s in (state, without))
    for (path, mine), theirs in zip(
        jax.tree_util.tree_leaves_with_path(moments), jax.tree.leaves(others), strict=True
    ):
        if "head" in jax.tree_util.keystr(path):
            assert not np.any(mine)
            assert np.any(theirs)
        else:
            np.testing.assert_array_equal(mine, theirs)


def test_a_refresh_comes_before_the_first_step(tmp_path):
    config = experiment("clusters", steps=1, refresh_every=0)
    state = train.fit(config, str(tmp_path))
    clusters = np.asarray(state.state["clusters"]["of_record"])
    assert len(np.unique(clusters)) == 3  # `init` made them all 0


def test_what_refresh_gives_must_fit_what_init_gave(tmp_path, monkeypatch):
    short = {"clusters": {"of_record": np.zeros(3, np.int32)}}
    for given, message in (
        ((short,), r"refresh: clusters/of_record is \(24,\), and it gave shape \(3,\)"),
        (({"cluster": {}},), r"\['cluster'\] are no collections that `init` made"),
        (({}, {"heads": {}}), r"refresh: params has no \['heads'\]"),
    ):
        monkeypatch.setattr(
            own_methods.Clusters,
            "refresh",
            lambda self, frozen, source, key, given=given: own_methods.Refreshed(*given),
        )
        with pytest.raises(ConfigError, match=message):
            train.fit(experiment("clusters"), str(tmp_path))


def test_a_fused_net_is_probed_and_its_inputs_are_the_raw_baseline(tmp_path):
    train_set, test_set = (
        call(SyntheticSource, size=size, frames=2, height=32, width=32, seed=seed)
        for size, seed in ((20, 0), (10, 1))
    )
    ridge = call(Ridge, train=train_set, test=test_set, read=call(Read, stream="fused", clips=2))
    config = experiment("fused", steps=1, evaluators={"ridge": ridge})
    train.fit(config, str(tmp_path))
    with open(tmp_path / "results.json") as file:
        results = json.load(file)["trained"]
    assert {"ridge/input", "ridge/vision_pool", "ridge/joint", "ridge/chance"} <= set(results)
    source = SyntheticSource(size=5, frames=2, height=32, width=32)
    found = load(tmp_path).features(source, "fused")
    assert found.layers["input"].shape == (5, 8 * 8 * 3 + 64)
    with pytest.raises(ConfigError, match="no stream 'sound'; it has vision, audio, fused"):
        load(tmp_path).features(source, "sound")


def test_features_at_asked_times_and_facts_of_the_records(tmp_path):
    train.fit(experiment("fused", steps=1), str(tmp_path))
    source, frozen = SyntheticSource(size=5, frames=8, height=32, width=32), load(tmp_path)

    def times(record):
        return [0.25 * record.duration, 0.0]

    def facts(record):
        return {"seconds": np.float32(record.duration), "pair": np.arange(2) + record.index}

    asked = frozen.features(source, "vision", clips=2, average=False, times=times, facts=facts)
    first = frozen.features(source, "vision", average=False, times=lambda record: [0.0])
    np.testing.assert_allclose(asked.layers["pool"][:, 1], first.layers["pool"][:, 0], atol=1e-5)
    assert np.abs(asked.layers["pool"][:, 0] - asked.layers["pool"][:, 1]).max() > 1e-3
    np.testing.assert_array_equal(asked.facts["pair"][:, 0], np.arange(5))
    assert asked.facts["seconds"].tolist() == [source[i].duration for i in range(5)]
    with pytest.raises(ConfigError, match="has 2 inputs a record where clips=1"):
        frozen.features(source, "vision", times=times)


@pytest.mark.parametrize("trained", ["taught"], indirect=True)
def test_a_teacher_gets_no_gradient_and_no_moments(trained):
    _, workdir, state = trained
    fresh = load(workdir, step=2).variables["params"]
    assert tiny.distance(state.params["teacher"], fresh["teacher"]) == 0.0
    assert tiny.distance(state.params["vision"], fresh["vision"]) > 0
    paths = map(jax.tree_util.keystr, dict(jax.tree_util.tree_leaves_with_path(state.optimizer)))
    assert not [path for path in paths if "teacher" in path]
    with open(os.path.join(workdir, "metrics.jsonl")) as file:
        lines = [json.loads(line) for line in file]
    heats = [line["train/heat"] for line in lines if "train/heat" in line]
    assert heats == pytest.approx([1 + (k + 0.5) / 8 for k in (0, 2, 4, 6)])  # means of two steps


def test_gradients_of_a_teacher_are_zero_in_micro_batches_too():
    method = own_methods.Taught()
    batch = {"vision": jax.random.uniform(jax.random.key(2), (4, 8, 8, 3))}
    variables = method.init(jax.random.key(0), batch, 4)
    params = variables.pop("params")
    state = {**variables, **run_collection(0, 4)}
    for count in (1, 2):
        _, gradients = loss_and_gradients(method, params, state, batch, jax.random.key(1), count)
        assert not np.any(gradients["teacher"]["Dense_0"]["kernel"])
        assert np.any(gradients["vision"]["Dense_0"]["kernel"])


@pytest.mark.parametrize("trained", ["fused"], indirect=True)
def test_init_from_takes_each_trunk_from_where_it_is_said(trained, tmp_path):
    _, workdir, state = trained
    load(workdir).save_trunk(tmp_path / "vision.npz", "vision")
    for where in (workdir, f"{workdir}:vision", str(tmp_path / "vision.npz")):
        given = {"vision": where, "teacher": f"{where.partition(':')[0]}:vision"}
        config = experiment("taught", steps=0, init_from=given)
        new = train.fit(config, str(tmp_path / "new"))
        assert tiny.distance(new.params["vision"], state.params["vision"]) == 0.0
        assert tiny.distance(new.params["teacher"], state.params["vision"]) == 0.0
        statistics = state.state["batch_stats"]["vision"]
        assert tiny.distance(new.state["batch_stats"]["teacher"], statistics) == 0.0
        os.rename(tmp_path / "new", tmp_path / f"old{len(where)}")
    for given, message in (
        ({"audio": workdir}, r"init_from.audio: the method has vision, teacher"),
        ({"vision": f"{workdir}:touch"}, r"no trunk 'touch'; it has .*vision"),
    ):
        config.init_from = given
        with pytest.raises(ConfigError, match=message):
            train.fit(config, str(tmp_path / "wrong"))


def test_evaluating_again_gives_the_same(trained):
    name, workdir, _ = trained
    source = call(SyntheticSource, size=12, frames=2, height=32, width=32)
    config = experiment(name, evaluators={"ridge": call(Ridge, train=source, test=source)})
    first, again = evaluate(config, workdir), evaluate(config, workdir)
    assert first == again


def test_none_of_them_overrides_the_loss():
    for method in own_methods.METHODS.values():
        assert method.loss is Method.loss
        assert len(inspect.getsource(method).splitlines()) <= 70
