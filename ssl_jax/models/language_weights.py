"""Published weights of GPT-2, BERT and T5, by the names that Hugging Face's files give them.

Each function takes arrays by name and gives parameters as the method's net has them:
{'text': the trunk's, ...}. What else a file holds, such as masks, is left out.
"""

import re
from collections.abc import Callable, Mapping

import numpy as np

from ssl_jax.config import ConfigError

Arrays = Mapping[str, np.ndarray]
DENSE = (("weight", "kernel"), ("bias", "bias"))
NORM = (("weight", "scale"), ("bias", "bias"))


def gpt2(arrays: Arrays) -> dict:
    """Parameters of `Autoregressive`, from a GPT2LMHeadModel or a GPT2Model."""
    arrays = _without("transformer.", arrays)
    transformer = {"norm": _part(arrays, "ln_f", NORM)}
    for k in range(_count(arrays, r"h\.(\d+)\.")):
        at, block = f"h.{k}", f"block{k + 1}"
        joined = _part(arrays, f"{at}.attn.c_attn", DENSE)  # of inputs and outputs, as ours
        parts = {name: np.split(x, 3, axis=-1) for name, x in joined.items()}
        for n, part in enumerate(("query", "key", "value")):
            transformer[f"{block}_attention_{part}"] = {k: x[n] for k, x in parts.items()}
        for name, place in (
            ("attention_out", "attn.c_proj"),
            ("feed_hidden", "mlp.c_fc"),
            ("feed_out", "mlp.c_proj"),
        ):
            transformer[f"{block}_{name}"] = _part(arrays, f"{at}.{place}", DENSE)
        for name, place in (("attention_norm", "ln_1"), ("feed_norm", "ln_2")):
            transformer[f"{block}_{name}"] = _part(arrays, f"{at}.{place}", NORM)
    embedding = {
        "tokens": _get(arrays, "wte.weight"),
        "positions": _get(arrays, "wpe.weight"),
    }
    return {"text": {"embedding": embedding, "blocks": transformer}}


def bert(arrays: Arrays) -> dict:
    """Parameters of `MaskedWords`, from a BertForPreTraining, BertForMaskedLM or BertModel.

    Of the heads (`dense`, `norm`, `bias`; `pooler`, `follows`) those that the file has.
    """
    # Old files call scale and bias of a norm gamma and beta.
    arrays = {
        name.replace("LayerNorm.gamma", "LayerNorm.weight").replace(
            "LayerNorm.beta", "LayerNorm.bias"
        ): x
        for name, x in _without("bert.", arrays).items()
    }
    embedding = {
        "tokens": _get(arrays, "embeddings.word_embeddings.weight"),
        "positions": _get(arrays, "embeddings.position_embeddings.weight"),
        "segments": _get(arrays, "embeddings.token_type_embeddings.weight"),
        "norm": _part(arrays, "embeddings.LayerNorm", NORM),
    }
    transformer = {}
    for k in range(_count(arrays, r"encoder\.layer\.(\d+)\.")):
        at, block = f"encoder.layer.{k}", f"block{k + 1}"
        for part in ("query", "key", "value"):
            own = _turned(arrays, f"{at}.attention.self.{part}")
            transformer[f"{block}_attention_{part}"] = own
        for name, place in (
            ("attention_out", "attention.output.dense"),
            ("feed_hidden", "intermediate.dense"),
            ("feed_out", "output.dense"),
        ):
            transformer[f"{block}_{name}"] = _turned(arrays, f"{at}.{place}")
        for name, place in (("attention_norm", "attention.output"), ("feed_norm", "output")):
            transformer[f"{block}_{name}"] = _part(arrays, f"{at}.{place}.LayerNorm", NORM)
    found = {"text": {"embedding": embedding, "blocks": transformer}}
    if "cls.predictions.bias" in arrays:
        found["dense"] = _turned(arrays, "cls.predictions.transform.dense")
        found["norm"] = _part(arrays, "cls.predictions.transform.LayerNorm", NORM)
        found["bias"] = arrays["cls.predictions.bias"]
    if "cls.seq_relationship.weight" in arrays:
        found["pooler"] = _turned(arrays, "pooler.dense")
        found["follows"] = _turned(arrays, "cls.seq_relationship")
    return found


def t5(arrays: Arrays) -> dict:
    """Parameters of `SpanCorruption`, from a T5ForConditionalGeneration.

    A 'head' is there if the output's vectors are others than the tokens', as in version 1.1.
    """
    shared = _get(arrays, "shared.weight")
    found = {
        "text": {"embedding": {"tokens": shared}, "blocks": _t5_stack(arrays, "encoder")},
        "writer": _t5_stack(arrays, "decoder"),
    }
    head = arrays["lm_head.weight"] if "lm_head.weight" in arrays else shared
    return found if np.array_equal(head, shared) else {**found, "head": head}


def _t5_stack(arrays: Arrays, name: str) -> dict:
    first = f"{name}.block.0.layer.0.SelfAttention.relative_attention_bias.weight"
    found = {
        "positions": _get(arrays, first),
        "norm": {"scale": _get(arrays, f"{name}.final_layer_norm.weight")},
    }
    looks = [("attention", "SelfAttention")]
    looks += [("cross", "EncDecAttention")] if name == "decoder" else []
    for k in range(_count(arrays, rf"{name}\.block\.(\d+)\.")):
        at, block = f"{name}.block.{k}.layer", f"block{k + 1}"
        for number, (part, place) in enumerate(looks):
            for own, theirs in (("query", "q"), ("key", "k"), ("value", "v"), ("out", "o")):
                dense = _turned(arrays, f"{at}.{number}.{place}.{theirs}")
                found[f"{block}_{part}_{own}"] = dense
        feed = f"{at}.{len(looks)}.DenseReluDense"
        gated = f"{feed}.wi_0.weight" in arrays
        dense = {"hidden": "wi_0", "gate": "wi_1"} if gated else {"hidden": "wi"}
        for own, theirs in {**dense, "out": "wo"}.items():
            found[f"{block}_feed_{own}"] = _turned(arrays, f"{feed}.{theirs}")
        for number, part in enumerate((*(part for part, _ in looks), "feed")):
            scale = _get(arrays, f"{at}.{number}.layer_norm.weight")
            found[f"{block}_{part}_norm"] = {"scale": scale}
    return found


def loader(arrays: Arrays) -> Callable[[Arrays], dict]:
    """Which of the functions above reads a file, by the names in it; ConfigError for no one's."""
    for function, marks in (
        (gpt2, ("wte.weight", "transformer.wte.weight")),
        (bert, ("embeddings.word_embeddings.weight", "bert.embeddings.word_embeddings.weight")),
        (t5, ("shared.weight",)),
    ):
        if any(mark in arrays for mark in marks):
            return function
    raise ConfigError(f"no weights of GPT-2, BERT or T5: it has {', '.join(sorted(arrays)[:3])}")


def _without(prefix: str, arrays: Arrays) -> dict[str, np.ndarray]:
    return {name.removeprefix(prefix): x for name, x in arrays.items()}


def _count(arrays: Arrays, pattern: str) -> int:
    """How many blocks there are, by names that begin like this."""
    numbers = (re.match(pattern, name) for name in arrays)
    return 1 + max((int(number[1]) for number in numbers if number), default=-1)


def _get(arrays: Arrays, name: str) -> np.ndarray:
    if name not in arrays:
        raise ConfigError(f"the weights have no '{name}'")
    return arrays[name]


def _part(arrays: Arrays, name: str, names: tuple[tuple[str, str], ...]) -> dict:
    return {own: _get(arrays, f"{name}.{theirs}") for theirs, own in names}


def _turned(arrays: Arrays, name: str) -> dict:
    """A dense layer whose matrix is of outputs and inputs; it may lack biases."""
    found = {"kernel": _get(arrays, f"{name}.weight").T}
    return {**found, "bias": arrays[f"{name}.bias"]} if f"{name}.bias" in arrays else found
