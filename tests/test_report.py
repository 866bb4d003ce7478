"""The page on a run: whole, safe, the same twice, and there for a run that was killed."""

import dataclasses
import html.parser
import json
import re
import shutil

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny
from PIL import Image

from ssl_jax import report, train
from ssl_jax.command import Arguments
from ssl_jax.config import ConfigError, call
from ssl_jax.data.sources.synthetic import SyntheticSource
from ssl_jax.evals.geometry import Geometry
from ssl_jax.evals.pretext import Pretext
from ssl_jax.method import Method, run_collection
from ssl_jax.reporting.curves import thinned
from ssl_jax.reporting.run import read_run
from ssl_jax.reporting.verdicts import verdicts
from ssl_jax.training.guesses import guesses

VOID = {"meta", "img", "br"}
BAD_NAME = '<b>&"'


class Reader(html.parser.HTMLParser):
    """Takes note of tags and what they point to; fails where one is not closed."""

    def __init__(self):
        super().__init__()
        self.open, self.tags, self.targets, self.ids, self.text = [], [], [], [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        named = dict(attrs)
        self.targets += [v for k, v in attrs if k in ("src", "href", "xlink:href")]
        self.ids += [named["id"]] if "id" in named else []
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def read(path):
    page = Reader()
    page.feed(path.read_text())
    page.close()
    assert page.open == []
    return page


def written(workdirs, output):
    report.main([*map(str, workdirs), f"--output={output}"])
    return output.read_text()


@dataclasses.dataclass(frozen=True)
class FirstPixel(Method):
    """The corner's brightness is the answer, and the network's guess: the target is off by one."""

    classes: int = 4

    @property
    def net(self):
        return FirstPixelNet(self.classes)

    trunks = ()

    def views(self, record, rng):
        return {"vision": record.need_frames()([0])[0, :8, :8]}

    def augment(self, batch, state, key):
        level = batch["vision"][:, 0, 0, 0].astype(jnp.int32) % self.classes
        return {**batch, "level": level, "target": (level + 1) % self.classes}

    def objective(self, outputs, batch):
        loss = -jnp.mean(jax.nn.log_softmax(outputs)[jnp.arange(len(outputs)), batch["target"]])
        return loss, {"accuracy": jnp.mean(outputs.argmax(-1) == batch["target"])}


class FirstPixelNet(nn.Module):
    classes: int

    @nn.compact
    def __call__(self, batch, train: bool):
        return self.param("scale", nn.initializers.ones, ()) * jax.nn.one_hot(
            batch["level"], self.classes
        )


def experiment(seed: int = 0, **changes):
    test = call(SyntheticSource, size=16, frames=2, height=32, width=32, seed=1)
    evaluators = {
        "ridge": tiny.ridge(every=2),
        "pretext": call(Pretext, source=test, batch_size=8, every=2),
        "geometry": call(Geometry, source=test),
    }
    return tiny.experiment(seed=seed, evaluators=evaluators, log_every=1, **changes)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    for seed in range(2):
        train.fit(experiment(seed), folder / str(seed))
    return [folder / "0", folder / "1"]


@pytest.fixture
def run(runs, tmp_path):
    """A copy that a test may spoil."""
    return shutil.copytree(runs[0], tmp_path / "run")


def test_it_is_one_file_without_scripts_or_network_and_the_same_twice(runs, tmp_path):
    first = written(runs[:1], tmp_path / "a.html")
    assert written(runs[:1], tmp_path / "b.html") == first
    page = read(tmp_path / "a.html")
    assert "script" not in page.tags
    assert page.targets
    assert all(target.startswith(("#", "data:image/")) for target in page.targets)
    assert "http" not in first
    assert len(page.ids) == len(set(page.ids))
    local = [target[1:] for target in page.targets if target.startswith("#")]
    local += re.findall(r"url\(#([^)]*)\)", first)
    assert set(local) <= set(page.ids)
    assert "prefers-color-scheme: dark" in first


def test_it_says_what_the_run_was_and_whether_it_went_well(runs, tmp_path):
    written(runs[:1], tmp_path / "a.html")
    text = " ".join(read(tmp_path / "a.html").text)
    run = json.loads((runs[0] / "results.json").read_text())["run"]
    for part in ("6 of 6, 48 examples", run["started"], run["system"]["jax"], "ridge"):
        assert part in text
    assert "None: no Shortcuts evaluator in the config." in text
    assert "its metrics have no accuracy" in text  # of mean colours
    assert "ssl_jax.fit(read('config.json'), 'runs/again')" in text
    for title in ("loss", "learning_rate", "pretext error", "waiting for data"):
        assert f">{title}</text>" in (tmp_path / "a.html").read_text()


def test_several_runs_have_means_and_deviations(runs, tmp_path):
    text = written(runs, tmp_path / "a.html")
    values = [json.loads((w / "results.json").read_text())["trained"]["ridge/pool"] for w in runs]
    assert f"<td>{np.mean(values):.3f} ± {np.std(values, ddof=1):.3f}</td>" in text
    assert "Mean ± deviation over 2 runs." in text
    (line,) = re.findall(r"2 runs; those of one curve", text)
    assert line


def test_names_are_data_and_not_markup(run, tmp_path):
    results = json.loads((run / "results.json").read_text())
    results["trained"][f"ridge/{BAD_NAME}"] = 0.5
    results["failed"] = {BAD_NAME: BAD_NAME}
    (run / "results.json").write_text(json.dumps(results))
    Image.new("RGB", (4, 4)).save(run / "pictures" / "<i>.png")
    line = {"step": 6, f"other/{BAD_NAME}/{BAD_NAME}": 0.1, "other/$a/x": 0.2}
    with open(run / "metrics.jsonl", "a") as file:
        file.write(json.dumps(line) + "\n")
    text = written([run], tmp_path / "a.html")
    read(tmp_path / "a.html")
    assert "<b>&" not in text
    assert "<i>" not in text
    assert "&lt;b&gt;&amp;&#34;" in text


def test_a_run_that_was_killed_has_a_page_of_what_is_there(run, tmp_path):
    parts = json.loads((run / "results.json").read_text())
    (run / "results.json").write_text(json.dumps({"run": {**parts["run"], "finished": None}}))
    lines = (run / "metrics.jsonl").read_text().splitlines()
    cut = lines[-1][:15]
    (run / "metrics.jsonl").write_text("\n".join([*lines[:-2], cut]))
    written([run], tmp_path / "a.html")
    text = " ".join(read(tmp_path / "a.html").text)
    assert "not finished" in text
    assert "None yet: evaluators run at the end" in text
    for name in ("results.json", "metrics.jsonl"):
        (run / name).unlink()
    shutil.rmtree(run / "pictures")
    written([run], tmp_path / "a.html")
    text = " ".join(read(tmp_path / "a.html").text)
    for reason in ("results.json has no `run`", "metrics.jsonl has no number yet", "0 of 6"):
        assert reason in text


def test_a_folder_without_a_run_is_one_line(tmp_path):
    with pytest.raises(ConfigError, match=r"config.json is missing: give the workdir of a run"):
        report.main([str(tmp_path)])
    with pytest.raises(ConfigError, match="say of which run"):
        report.main([])


def test_large_pictures_are_made_smaller(run, tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (1500, 1500, 3), np.uint8)
    for number in range(6):
        Image.fromarray(noise).save(run / "pictures" / f"noise_{number}.png")
    written([run], tmp_path / "a.html")
    assert (tmp_path / "a.html").stat().st_size <= 10_000_000
    assert sum(t.startswith("data:image/jpeg") for t in read(tmp_path / "a.html").targets) == 6


def test_audits_stand_with_their_intervals(run, tmp_path):
    results = json.loads((run / "results.json").read_text())
    for cue, excess in (("grid", 0.02), ("bars", 0.31)):
        numbers = {"as_is": 0.9, "removed": 0.5, "control": 0.8, "drop": 0.4, "cue_only": 0.95}
        ends = {"excess_low": excess - 0.05, "excess_high": excess + 0.05}
        numbers |= {"excess": excess, "reliance": float("nan"), "chance": 0.25, **ends}
        results["trained"] |= {f"shortcuts/{cue}/{k}": v for k, v in numbers.items()}
    results["trained"] |= {"shortcuts/one/excess": -0.5, "shortcuts/small_network/accuracy": 0.77}
    (run / "results.json").write_text(json.dumps(results))
    Image.new("RGB", (4, 4)).save(run / "pictures" / "shortcuts_bars.png")
    text = written([run], tmp_path / "a.html")
    read(tmp_path / "a.html")
    assert text.index("<td>bars</td>") < text.index("<td>grid</td>")  # the largest first
    assert "<td>0.310</td><td>0.260 to 0.360</td><td>–</td><td>0.950</td>" in text
    assert "<td>one</td><td>-0.500</td><td>– to –</td>" in text  # of a single batch
    assert "A network of two convolutions reaches 0.770" in text
    assert "<td>-0.030 to 0.070</td>" in text
    assert "<h3>shortcuts" not in text
    assert 'alt="shortcuts bars"' in text


def test_spikes_stay_when_a_curve_is_thinned():
    rng = np.random.default_rng(0)
    values = rng.normal(size=10_000)
    values[[137, 8888]] = 50.0, -50.0
    values[500:600] = np.nan
    steps, kept = thinned(range(10_000), values.tolist())
    assert len(steps) <= 500
    assert steps == sorted(set(steps))
    assert {137, 8888} <= set(steps)
    assert kept == [values[step] for step in steps]
    assert np.isfinite(kept).all()
    assert thinned([1, 2, 3], [1.0, float("inf"), 2.0]) == ([1, 3], [1.0, 2.0])


def changed(run, trained=None, metrics=()):
    """The run's verdicts with other numbers, by their question."""
    found = read_run(str(run))
    table = dataclasses.replace(found.table, trained={**found.table.trained, **(trained or {})})
    lines = [*found.metrics, *metrics]
    other = dataclasses.replace(found, table=table, metrics=lines)
    return {one.question.split(" ")[0]: one for one in verdicts(other)}


def test_each_verdict_goes_by_its_number(runs):
    usual = changed(runs[0])
    assert usual["Is"].question == "Is its own puzzle solved?"
    layers = [n for n in read_run(str(runs[0])).table.trained if re.fullmatch(r"ridge/\w+", n)]
    best = changed(runs[0], dict.fromkeys(layers, 1e3))
    worst = changed(runs[0], dict.fromkeys(layers, -1e3))
    assert (best["Better"].state, worst["Better"].state) == ("good", "bad")
    point = changed(runs[0], {"geometry/pool/rankme": 1.0})
    wide = changed(runs[0], {"geometry/pool/rankme": 9.0, "geometry/pool/cosine": 0.1})
    line = changed(runs[0], {"geometry/pool/rankme": 9.0, "geometry/pool/cosine": 0.99})
    assert [one["Have"].state for one in (point, wide, line)] == ["bad", "good", "bad"]


def test_a_loss_that_is_not_finite_is_told(runs):
    losses = {one.question: one for one in verdicts(read_run(str(runs[0])))}
    assert losses["Is the loss finite?"].state == "good"
    found = read_run(str(runs[0]))
    lines = [*found.metrics, {"step": 7, "train/loss": float("nan")}]
    first, *_ = verdicts(dataclasses.replace(found, metrics=lines))
    assert (first.state, first.text) == ("bad", "1 of 7 logged losses are not finite")


def test_a_guess_is_the_likeliest_class():
    method = FirstPixel()
    levels = np.arange(6, dtype=np.uint8)[:, None, None, None]
    pixels = jnp.asarray(np.broadcast_to(levels, (6, 8, 8, 3)))
    batch = method.augment({"vision": pixels}, {}, jax.random.key(0))
    variables = method.init(jax.random.key(0), {"vision": pixels[:2]}, 6)
    state = run_collection(0, 1)
    found = guesses(method, variables["params"], state, batch, jax.random.key(0))
    np.testing.assert_array_equal(found["target"], [0, 1, 2, 3, 0, 1])
    assert (found["target"] != batch["target"]).all()
    outside = tiny.MeanColour(vision=tiny.TinyTrunk())  # its answers are no classes
    few = outside.augment({"vision": pixels}, {}, jax.random.key(0))
    weights = outside.init(jax.random.key(0), {"vision": pixels[:2]}, 6)
    own = {"batch_stats": weights["batch_stats"], **state}
    assert guesses(outside, weights["params"], own, few, jax.random.key(0)) == {}


def test_the_command_leaves_guesses_and_a_page(tmp_path, capsys, monkeypatch):
    config = tiny.experiment(method=call(FirstPixel), steps=1)
    train.main(Arguments(config, str(tmp_path)))
    assert (tmp_path / "pictures" / "guesses.png").is_file()
    text = " ".join(read(tmp_path / "report.html").text)
    assert "each puzzle's target, and its guess" in text
    monkeypatch.setattr(report, "EXTRA", ("jinja2", "a_package_that_is_not_there"))
    capsys.readouterr()
    train.main(Arguments(config, str(tmp_path)))
    assert "no report.html: a page on a run needs pip install" in capsys.readouterr().out
    with pytest.raises(ConfigError, match=r"pip install 'ssl_jax\[report\]'"):
        report.main([str(tmp_path)])


def test_a_page_that_cannot_be_made_costs_the_page_alone(tmp_path, capsys):
    (tmp_path / "report.html").mkdir()
    train.main(Arguments(tiny.experiment(steps=1), str(tmp_path)))
    lines = capsys.readouterr().err.splitlines()
    assert f"ssl_jax: no report.html; the run is whole in {tmp_path}" in lines
    assert any(line.startswith("IsADirectoryError") for line in lines)


def test_methods_without_classes_leave_no_guesses(tmp_path):
    train.main(Arguments(tiny.experiment(steps=1), str(tmp_path)))
    assert not (tmp_path / "pictures" / "guesses.png").exists()
    assert (tmp_path / "report.html").is_file()
