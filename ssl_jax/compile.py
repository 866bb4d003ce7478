"""Compiles a config's training step for a TPU slice, on a machine without one.

    python -m ssl_jax.compile --config=FILE[:variant] --topology=v5e:2x2 [--config.x.y=value ...]
        [--output=FILE.json] [--vocabulary=50257]

It says whether the step compiles and fits, what a chip keeps, computes, reads and sends, and how
fast a step can be at best. Neither a TPU nor the data are needed, only the libtpu wheel:
pip install 'ssl_jax[tpu]'. Where the config's data are not there, synthetic records (of text, those
of `PythonDocs`) stand in, and for a tokenizer one of so many ids as --vocabulary says.
"""

import json
from collections.abc import Callable, Mapping, Sequence

import jax
from ml_collections import ConfigDict

from ssl_jax import config as configs
from ssl_jax.command import arguments_of, enter, overridden, parser_of
from ssl_jax.config import ConfigError, call
from ssl_jax.data.pipeline import first_example, stack
from ssl_jax.data.record import MediaError
from ssl_jax.data.sources.feature_folder import FeatureFolder
from ssl_jax.data.sources.python_docs import PythonDocs
from ssl_jax.data.sources.random_features import RandomFeatures
from ssl_jax.data.sources.spelled_tones import SpelledTones
from ssl_jax.data.sources.synthetic import SyntheticSource
from ssl_jax.data.sources.text import TextSource
from ssl_jax.data.stand_in_tokenizer import StandInTokenizer
from ssl_jax.data.tokenizers import Words
from ssl_jax.data.words import CountedWords
from ssl_jax.devices.slices import MEMORY, Memory, devices_of
from ssl_jax.training.compiled_step import CompiledStep, DoesNotFit
from ssl_jax.training.kept_tokenizers import is_there, tokenizers_in
from ssl_jax.training.speed import flops_text


def main(argv: Sequence[str]) -> None:
    """Compiles what the command line says and prints what the compiler says of it."""
    parser = parser_of("compile", __doc__)
    parser.add_argument("--config", required=True, help="config file, or FILE:variant")
    parser.add_argument("--topology", required=True, help="such as v5e:2x2, v5e:16x16, v4:2x2x1")
    parser.add_argument("--output", default="", help="write the numbers to this file as json too")
    parser.add_argument(
        "--vocabulary", type=int, default=32000, help="of a tokenizer whose file is not there"
    )
    known = arguments_of(parser, [a for a in argv if not a.startswith("--config.")])
    config = overridden(known.config, argv)
    jax.config.update("jax_platforms", "cpu")  # no TPU is looked for
    devices = devices_of(known.topology)
    kind = devices[0].device_kind
    config, missing = with_data(config, known.vocabulary)
    for line in missing:
        print(line, flush=True)
    print(f"{known.config} on {known.topology}: {len(devices)} x {kind}", flush=True)
    numbers = report(config, devices)
    if known.output:
        found = {"config": known.config, "topology": known.topology, **numbers}
        try:
            with open(known.output, "w") as file:
                json.dump(found, file, indent=2)
        except OSError as error:
            raise ConfigError(f"--output={known.output}: {error.strerror}") from error


def with_data(config: ConfigDict, vocabulary: int = 32000) -> tuple[ConfigDict, list[str]]:
    """The config, without evaluators and with records that can be read; and what stands in why.

    Compiling needs one record, for its shapes, and how many ids a tokenizer has.
    """
    config, lines = config.copy_and_resolve_references(), []
    documentation = call(PythonDocs, parts=("language",))
    with config.ignore_type():
        config.evaluators, config.checkpoints.keep_best = ConfigDict(), ""
        for place, recorded in list(tokenizers_in(config)):
            if "path" in recorded and not is_there(recorded.path):
                # Methods of words take no other tokenizer, and there are so many words only.
                words = recorded.call == call(Words, path="").call
                found = call(CountedWords, source=documentation, min_count=1, limit=vocabulary)
                stand_in = found if words else call(StandInTokenizer, size=vocabulary)
                what = "the words of PythonDocs" if words else f"{vocabulary} ids"
                lines.append(f"{what} stand in for the tokenizer {recorded.path}")
                parent = config
                for name in place.split(".")[:-1]:
                    parent = parent[int(name) if isinstance(parent, tuple) else name]
                parent.tokenizer = stand_in
    try:
        if len(configs.build(config.source, place="source")):
            return config, lines
        missing = "there are none"
    except (ConfigError, MediaError) as error:
        missing = str(error)
    # Long and large enough for any paper's clips and crops; only what a method takes is drawn.
    size = {"frames": 500, "fps": 25.0, "height": 256, "width": 340, "sample_rate": 48000}
    others = call(SyntheticSource, size=1024, **size)
    with config.ignore_type():
        blocks = config.source if "tokenizer" in config.source else None  # of `TokenBlocks`
        documents = config.source.source if blocks else config.source
        if documents.call == call(TextSource, path="").call:
            others = documentation
        elif documents.call == call(FeatureFolder, path="", lists="").call:
            width = _width_of_features(config)
            others = call(RandomFeatures, source=others, width=width, rate=config.source.rate)
        elif "alphabet" in config.method:  # `Transcription` takes short utterances with their text
            spoken = {"letters": config.method.alphabet.letters[:3], "sample_rate": 16000}
            others = call(SpelledTones, words=(1, 1), length=(1, 1), **spoken)
        if blocks:
            blocks.source = others
            if "cache" in blocks:
                blocks.cache = ""  # a check writes nothing
        else:
            config.source = others
    kind = others.call.partition(":")[2]
    lines = list(dict.fromkeys(lines))  # of the method and of its source
    return config, [*lines, f"{kind} stands in for the config's data: {missing}"]


def _width_of_features(config: ConfigDict) -> int:
    """Of a row; ConfigError if the method does not say it."""
    trunk = config.method.vision if "vision" in config.method else ConfigDict()
    widths = trunk.widths if "widths" in trunk else ()  # of `FeatureGroups`
    if not widths:
        raise ConfigError(
            f"{config.source.path}: is not there, and how wide its features are is not said; say "
            "--config.method.vision.widths of FeatureGroups, such as (2048, 2048)"
        )
    return sum(widths)


def report(config: ConfigDict, devices: Sequence[jax.Device]) -> dict:
    """Compiles, tries what may help if it does not fit, prints and returns the numbers."""
    print("compiling, this takes minutes", flush=True)
    memory = MEMORY[devices[0].device_kind]
    tried: dict[str, str] = {}
    try:
        found = compiled(config, devices)
    except DoesNotFit as error:
        print(f"does not fit: {error}; trying what may help", flush=True)
        for name, changed in remedies(config).items():
            try:
                found = compiled(changed, devices)
                tried[name] = f"fits: {found.memory / 2**30:.2f} GiB a chip"
            except (DoesNotFit, ConfigError) as failure:
                tried[name] = str(failure)
            print(f"with {name}: {tried[name]}", flush=True)
        return {"fits": False, "error": str(error), "tried": tried}
    print("\n".join(lines(found, memory)), flush=True)
    return {"fits": True, **numbers_of(found, memory)}


def compiled(config: ConfigDict, devices: Sequence[jax.Device]) -> CompiledStep:
    """The step of a config."""
    experiment = configs.build(config)
    views = experiment.trained_method().views
    example = first_example(experiment.source, views, experiment.seed, experiment.data)
    return CompiledStep.of(experiment, stack([example]), devices)


def remedies(config: ConfigDict) -> dict[str, ConfigDict]:
    """What may make a step fit, each by itself and then all that apply: words -> config."""

    def bfloat16(config):
        config.dtype = "bfloat16"

    def remat(config):
        _set_everywhere(config.method, "remat", True)

    def micro_batches(config):
        config.micro_batches = 4

    def fsdp(config):
        config.sharding.rule = "fsdp"

    alone = {
        "--config.dtype=bfloat16": bfloat16,
        "remat=True in every trunk that has it": remat,
        "--config.micro_batches=4": micro_batches,
        "--config.sharding.rule=fsdp": fsdp,
    }
    found = {name: _changed(config, change) for name, change in alone.items()}
    found = {name: changed for name, changed in found.items() if changed != config}
    chosen = [alone[name] for name in found]
    return {**found, "all of these": _changed(config, *chosen)}


def _changed(config: ConfigDict, *changes: Callable[[ConfigDict], None]) -> ConfigDict:
    config = config.copy_and_resolve_references()
    for change in changes:
        change(config)
    return config


def _set_everywhere(config: ConfigDict, knob: str, value: object) -> None:
    for name, inside in config.items():
        if name == knob:
            config[name] = value
        elif isinstance(inside, ConfigDict):
            _set_everywhere(inside, knob, value)


def numbers_of(found: CompiledStep, memory: Memory) -> dict:
    """What is written as json: bytes and FLOP of a chip and step, milliseconds, shares."""
    bound = found.roofline(memory.bandwidth * 1e9)
    steps = 1 / bound.step
    return {
        "seconds_to_compile": found.seconds,
        "memory": found.memory,
        "state": found.state,
        "temporaries": found.temporaries,
        "hbm": int(memory.gib * 2**30),
        "flops": found.flops,
        "traffic": found.traffic,
        "weights_traffic": found.weights_traffic,
        "augment_traffic": found.augment_traffic,
        "sent": dict(found.sent),
        "roofline": {
            "arithmetic_ms": 1e3 * bound.arithmetic,
            "memory_ms": 1e3 * bound.memory,
            **found.speed.numbers(steps),
        },
    }


def lines(found: CompiledStep, memory: Memory) -> list[str]:
    """The report, a line each."""
    numbers = numbers_of(found, memory)
    roofline = numbers["roofline"]
    shares = traffic_shares(numbers)
    most = max(shares, key=lambda name: shares[name])
    sent = ", ".join(f"{kind} {_bytes(size)}" for kind, size in sorted(found.sent.items()))
    by = "memory" if roofline["memory_ms"] > roofline["arithmetic_ms"] else "arithmetic"
    return [
        f"compiles in {found.seconds:.0f} s and fits",
        f"memory of a chip: {_bytes(found.memory)} of {memory.gib} GiB (weights, optimizer and "
        f"batch {_bytes(found.state)}, temporaries {_bytes(found.temporaries)})",
        f"a chip and step: {flops_text(found.flops)} in {roofline['arithmetic_ms']:.3g} ms, "
        f"{found.traffic / 1e9:.3g} GB of memory traffic in {roofline['memory_ms']:.3g} ms, "
        "at the chip's published rates",
        "traffic: " + ", ".join(f"{name} {share:.0%}" for name, share in shares.items()) + f"; "
        f"mostly {most}",
        f"sent by a chip: {sent or 'nothing'}",
        f"roofline, bound by {by} (no step is faster; a real one is slower): "
        f"{roofline['rows_per_second']:,.0f} examples/s, MFU {roofline['mfu']:.1%}",
    ]


def traffic_shares(numbers: Mapping) -> dict[str, float]:
    """Shares of the memory traffic: weights and optimizer, augmentation, activations (the rest)."""
    whole = numbers["traffic"]
    weights = min(numbers["weights_traffic"] / whole, 1.0)
    augment = min(numbers["augment_traffic"] / whole, 1.0 - weights)
    return {
        "weights and optimizer": weights,
        "augmentation": augment,
        "activations": max(0.0, 1.0 - weights - augment),
    }


def _bytes(size: float) -> str:
    """Such as '1.23 GiB'."""
    for unit, name in ((2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB")):
        if size >= unit:
            return f"{size / unit:.3g} {name}"
    return f"{size:.0f} B"


if __name__ == "__main__":
    enter(main, "compile")
