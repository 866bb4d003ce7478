"""GPT-2 small on OpenWebText: 124,439,808 parameters, blocks of 1024 tokens.

    python -m ssl_jax.train --config=text/autoregressive_openwebtext.py --workdir=runs/gpt2

Data: the folder data/openwebtext with text files, those of data/openwebtext_test held out (of the
paper's WebText only samples are public), and GPT-2's tokenizer.json in data/gpt2.
Cost: 300,000 steps of 512 blocks, not measured; about 1.3e20 floating point operations. Steps,
batch size and optimizer are common practice, the paper gives none of them; weight decay is on the
embeddings too.
Paper: on its own data, perplexity 29.4 on WikiText-2, 1.16 bits per byte on enwik8.
Ours, in the paper's setting: not measured.

Variants: `:python` trains a small one on the bytes of Python's own documentation in minutes on a
CPU core; `:tiny` is four steps on some of it.

    :python, held out    bits per byte    accuracy
    ours                 2.473            0.518
    control              not measured
    random init          7.945            0.056
    bigram               3.783            0.256
    unigram              4.709            0.156
    uniform              8.036            0.004
    1 seed, 3.5 minutes on 1 CPU core, Python 3.11
"""

from ssl_jax import presets
from ssl_jax.config import call, choose
from ssl_jax.data.sources.text import TextSource
from ssl_jax.data.sources.token_blocks import TokenBlocks
from ssl_jax.data.tokenizers import TokenizersFile
from ssl_jax.evals.perplexity import Perplexity
from ssl_jax.evals.pretext import Pretext
from ssl_jax.experiment import Experiment
from ssl_jax.methods.text.autoregressive import Autoregressive
from ssl_jax.models.text_encoder import TextEncoder
from ssl_jax.models.transformer import Transformer
from ssl_jax.optim import Optimizer
from ssl_jax.training.schedules import Cosine

GPT2 = {"norm_first": True, "causal": True, "activation": "gelu_tanh", "initial": "residual"}


def get_config(variant: str = ""):
    """The paper's run, or a variant's."""
    return choose(variant, openwebtext, python, tiny)


def openwebtext():
    tokenizer = call(TokenizersFile, path="data/gpt2/tokenizer.json")
    train, test = (
        call(
            TokenBlocks,
            source=call(TextSource, path=path),
            tokenizer=tokenizer,
            length=1024,
            cache="data/tokens",
        )
        for path in ("data/openwebtext", "data/openwebtext_test")
    )
    transformer = call(Transformer, **GPT2, dropout=0.1, attention_dropout=0.1, remat=True)
    return call(
        Experiment,
        source=train,
        method=call(
            Autoregressive,
            text=call(TextEncoder, transformer=transformer, dropout=0.1),
            tokenizer=tokenizer,
            at_once=128,
        ),
        optimizer=call(
            Optimizer,
            name="adamw",
            learning_rate=6e-4,
            beta2=0.95,
            weight_decay=0.1,
            clip_norm=1.0,
            schedule=call(Cosine, warmup=2000, final=0.1),
        ),
        steps=300_000,
        batch_size=512,
        dtype="bfloat16",
        evaluators={
            "perplexity": call(
                Perplexity,
                train=train,
                test=test,
                batch_size=64,
                limit=20_000,
                counted=200_000,
                every=10_000,
            )
        },
    )


def python():
    """A small one on bytes."""
    train, test = presets.python_blocks(64)
    transformer = call(Transformer, blocks=2, heads=4, hidden=512, **GPT2)
    return call(
        Experiment,
        source=train,
        method=call(
            Autoregressive,
            text=call(TextEncoder, transformer=transformer, width=128, length=64),
            length=64,
        ),
        optimizer=call(
            Optimizer,
            name="adamw",
            learning_rate=2e-3,
            beta2=0.95,
            weight_decay=0.1,
            clip_norm=1.0,
            schedule=call(Cosine, warmup=100, final=0.1),
        ),
        steps=2000,
        batch_size=8,
        evaluators={
            "perplexity": call(Perplexity, train=train, test=test, limit=1024),
        },
    )


def tiny():
    train, test = presets.python_blocks(32, parts=("language",), limit=8)
    transformer = call(Transformer, blocks=2, heads=2, hidden=16, **GPT2)
    method = call(
        Autoregressive,
        text=call(TextEncoder, transformer=transformer, width=8, length=32),
        length=32,
        at_once=8,
    )
    evaluators = {
        "pretext": call(Pretext, source=test, batch_size=8),
        "perplexity": call(Perplexity, train=train, test=test, batch_size=8, limit=16),
    }
    return presets.tiny(method, (train, test), evaluators=evaluators)
