"""What the weights of wav2vec 2.0 are called in the files of Hugging Face, and here."""

import re
from collections.abc import Mapping

import numpy as np

from ssl_jax.config import ConfigError

PREFIX = "wav2vec2."  # of models that have a head, too
# Without `.weight` or `.bias`; layers are counted from 0 there and from 1 here.
NAMES = (
    (r"feature_extractor\.conv_layers\.(\d+)\.conv", "convolutions/conv{}"),
    (r"feature_extractor\.conv_layers\.(\d+)\.layer_norm", "convolutions/conv{}_norm"),
    (r"feature_projection\.layer_norm", "features_norm"),
    (r"feature_projection\.projection", "projection"),
    (r"encoder\.pos_conv_embed\.conv", "positions"),
    (r"encoder\.layers\.(\d+)\.attention\.q_proj", "blocks/block{}_attention_query"),
    (r"encoder\.layers\.(\d+)\.attention\.k_proj", "blocks/block{}_attention_key"),
    (r"encoder\.layers\.(\d+)\.attention\.v_proj", "blocks/block{}_attention_value"),
    (r"encoder\.layers\.(\d+)\.attention\.out_proj", "blocks/block{}_attention_out"),
    (r"encoder\.layers\.(\d+)\.layer_norm", "blocks/block{}_attention_norm"),
    (r"encoder\.layers\.(\d+)\.feed_forward\.intermediate_dense", "blocks/block{}_feed_hidden"),
    (r"encoder\.layers\.(\d+)\.feed_forward\.output_dense", "blocks/block{}_feed_out"),
    (r"encoder\.layers\.(\d+)\.final_layer_norm", "blocks/block{}_feed_norm"),
)
# Weight normalisation has two names there, by the version of PyTorch.
LENGTHS = ("weight_g", "parametrizations.weight.original0")
DIRECTIONS = ("weight_v", "parametrizations.weight.original1")


def from_hugging_face(arrays: Mapping[str, np.ndarray], norm_first: bool) -> dict:
    """The parameters of `Wav2Vec`, of a transformer with `norm_first` or without.

    What stands on the trunk (quantiser, heads) is left out. Files of fine-tuned models may lack the
    vector of masked steps; here it is zeros then.

    Raises ConfigError if nothing of the trunk is there.
    """
    names = (*NAMES, (r"encoder\.layer_norm", "blocks/norm" if norm_first else "positions_norm"))
    found: dict = {}
    for full, value in arrays.items():
        name = full.removeprefix(PREFIX)
        if name == "masked_spec_embed":
            found["mask"] = value
        for pattern, place in names:
            match = re.fullmatch(rf"{pattern}\.(.+)", name)
            if match:
                *layer, part = match.groups()
                node = found
                for step in place.format(*(int(number) + 1 for number in layer)).split("/"):
                    node = node.setdefault(step, {})
                own, ours = _as_here(part, value)
                node[own] = ours
    if "projection" not in found:
        raise ConfigError("no weights of wav2vec 2.0 as Hugging Face names them")
    if "mask" not in found:
        found["mask"] = np.zeros_like(found["projection"]["bias"])
    return found


def _as_here(part: str, value: np.ndarray) -> tuple[str, np.ndarray]:
    """Name and array of a layer's part; of kernels our outputs are the last axis."""
    if part in LENGTHS:
        return "scale", value.ravel()
    if part in DIRECTIONS or (part == "weight" and value.ndim > 1):
        return "kernel", np.ascontiguousarray(value.T)
    return ("scale" if part == "weight" else part), value
