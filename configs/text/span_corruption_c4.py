"""T5 base on C4: 222,903,552 parameters, spans of three tokens to be written.

    python -m ssl_jax.train --config=text/span_corruption_c4.py --workdir=runs/t5

Data: the folder data/c4 with C4's c4-train.*.json.gz (of which the field `text` is read), those of
c4-validation in data/c4_test, and T5's spiece.model in data/t5. Tokens are kept in data/tokens, but
all text is read at the start, and has to fit into memory: take as many files as do.
Cost: 524,288 steps of 128 texts of 512 tokens, as in the paper's comparisons; not measured.
Paper: after fine-tuning, GLUE 83.28, SuperGLUE 71.36. Of spans no number is given.
Ours, in the paper's setting: not measured.

Variants: `:gated` is T5 1.1 base, 247,577,856 parameters; `:python` trains a small one on the bytes
of Python's own documentation in minutes on a CPU core; `:tiny` is four steps on some of it.

    :python, bytes of spans    accuracy    nats
    ours                       0.210       2.808
    control                    not measured
    random init                0.049       6.651
    bigram                     0.256       2.621
    unigram                    0.156       3.263
    uniform                    0.004       5.568
    1 seed, 4 minutes on 1 busy CPU core, Python 3.11

In 2,000 steps the network learns more than how frequent bytes are, and less than the byte before
tells.
"""

from ssl_jax import presets
from ssl_jax.config import call, choose
from ssl_jax.data.sources.text import TextSource
from ssl_jax.data.sources.token_blocks import TokenBlocks
from ssl_jax.data.tokenizers import SentencePiece
from ssl_jax.evals.perplexity import Perplexity
from ssl_jax.evals.pretext import Pretext
from ssl_jax.experiment import Experiment
from ssl_jax.methods.text.span_corruption import SpanCorruption
from ssl_jax.models.text_encoder import TextEncoder
from ssl_jax.models.transformer import Transformer
from ssl_jax.optim import Optimizer
from ssl_jax.training.schedules import Cosine, InverseSqrt

T5 = {
    "norm_first": True,
    "norm": "rms",
    "norm_eps": 1e-6,
    "biases": False,
    "scaled": False,
    "position_buckets": 32,
    "initial": "fan_in",
}
GATED = {"activation": "gelu_tanh", "gated": True, "hidden": 2048}


def get_config(variant: str = ""):
    """The paper's run, or a variant's."""
    return choose(variant, c4, gated, python, tiny)


def c4():
    return paper({"activation": "relu", "dropout": 0.1, "attention_dropout": 0.1}, tied=True)


def gated():
    """Version 1.1: gated feed-forward networks, an output of its own, no dropout."""
    return paper(GATED, tied=False)


def paper(knobs: dict, tied: bool):
    tokenizer = call(SentencePiece, path="data/t5/spiece.model")
    train, test = (
        call(
            TokenBlocks,
            source=call(TextSource, path=path),
            tokenizer=tokenizer,
            length=568,
            cache="data/tokens",
        )
        for path in ("data/c4", "data/c4_test")
    )
    return call(
        Experiment,
        source=train,
        method=call(
            SpanCorruption,
            **stacks(768, blocks=12, heads=12, head_width=64, remat=True, **knobs),
            tokenizer=tokenizer,
            vocabulary=32_128,
            tied=tied,
        ),
        optimizer=call(
            Optimizer, name="adamw", learning_rate=1e-3, schedule=call(InverseSqrt, warmup=10_000)
        ),
        steps=524_288,
        batch_size=128,
        dtype="bfloat16",
        evaluators={
            "perplexity": call(
                Perplexity,
                train=train,
                test=test,
                batch_size=64,
                limit=20_000,
                counted=200_000,
                every=50_000,
            )
        },
    )


def python():
    """A small one on bytes; its spans are longer, as a byte is less than a word's piece."""
    train, test = presets.python_blocks(64)
    return call(
        Experiment,
        source=train,
        method=call(
            SpanCorruption,
            **stacks(128, blocks=2, heads=4, **{**GATED, "hidden": 256}),
            length=64,
            mean=5.0,
            sentinels=4,
        ),
        optimizer=call(
            Optimizer,
            name="adamw",
            learning_rate=2e-3,
            clip_norm=1.0,
            schedule=call(Cosine, warmup=100),
        ),
        steps=2000,
        batch_size=16,
        evaluators={
            "perplexity": call(Perplexity, train=train, test=test, limit=1024),
        },
    )


def tiny():
    train, test = presets.python_blocks(32, parts=("language",), limit=8)
    method = call(
        SpanCorruption,
        **stacks(8, blocks=2, heads=2, **{**GATED, "hidden": 16}),
        length=32,
        sentinels=4,
    )
    evaluators = {
        "pretext": call(Pretext, source=test, batch_size=8),
        "perplexity": call(Perplexity, train=train, test=test, batch_size=8, limit=16),
    }
    return presets.tiny(method, (train, test), evaluators=evaluators)


def stacks(width: int, **knobs) -> dict:
    """Encoder and decoder of a width; `knobs` of both transformers beside those of every T5."""
    encoder, decoder = (call(Transformer, **T5, **knobs, causal=causal) for causal in (False, True))
    # Vectors of tokens start as large as a norm makes what it puts out.
    text = call(TextEncoder, transformer=encoder, width=width, length=0, deviation=1.0)
    return {"text": text, "decoder": decoder}
