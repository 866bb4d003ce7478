"""Writes wav2vec.npz and two .safetensors: what Hugging Face's wav2vec 2.0 makes of random weights.

Nothing of the package is used here. Run by hand where PyTorch, transformers and safetensors are
installed, which no test needs:

    python tests/recorded/make_wav2vec.py
"""

import pathlib

import numpy as np
import torch
from safetensors.torch import save_file
from transformers import Wav2Vec2Config, Wav2Vec2Model

HERE = pathlib.Path(__file__).parent
SIZES = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 24,
    "conv_dim": [8] * 7,
    "num_conv_pos_embeddings": 6,
    "num_conv_pos_embedding_groups": 4,
}
SHORT = 3000  # samples of a second, shorter wave
# Norms as in Base and as in Large.
KINDS = {
    "group": {"feat_extract_norm": "group", "conv_bias": False, "do_stable_layer_norm": False},
    "layer": {"feat_extract_norm": "layer", "conv_bias": True, "do_stable_layer_norm": True},
}
# What weight normalisation is called in the published files, and by newer versions of PyTorch.
NEW = "parametrizations.weight.original"
OLD = {f"{NEW}0": "weight_g", f"{NEW}1": "weight_v"}


def main():
    torch.manual_seed(0)
    wave = torch.randn(1, 4000)
    masked = torch.arange(12)[None] % 5 == 1
    recorded = {"wave": wave.numpy(), "masked": masked.numpy()}
    for kind, knobs in KINDS.items():
        model = Wav2Vec2Model(Wav2Vec2Config(**SIZES, **knobs)).eval()
        with torch.no_grad():
            for name, weights in model.named_parameters():
                noise = torch.randn_like(weights)
                if "layer_norm.weight" in name or "original0" in name:
                    weights.copy_(1 + 0.2 * noise)
                else:
                    weights.copy_(
                        noise * (0.1 if weights.ndim == 1 else weights[0].numel() ** -0.5)
                    )
            seen = model(wave, output_hidden_states=True)
            hidden = model(wave, mask_time_indices=masked)
            short = model(wave[:, :SHORT])
        recorded[f"{kind}/features"] = seen.extract_features.numpy()
        recorded[f"{kind}/block1"] = seen.hidden_states[1].numpy()
        recorded[f"{kind}/last"] = seen.last_hidden_state.numpy()
        recorded[f"{kind}/last_short"] = short.last_hidden_state.numpy()
        recorded[f"{kind}/last_masked"] = hidden.last_hidden_state.numpy()
        weights = dict(model.state_dict())
        if kind == "group":  # as published: old names
            for new, old in OLD.items():
                weights = {name.replace(new, old): x for name, x in weights.items()}
            weights = {f"wav2vec2.{name}": x for name, x in weights.items()}
            weights["project_q.bias"] = torch.zeros(3)  # of pre-training, no part of the trunk
        weights = {name: x.contiguous() for name, x in weights.items()}
        save_file(weights, HERE / f"wav2vec_{kind}.safetensors")
    np.savez(HERE / "wav2vec.npz", **recorded)


if __name__ == "__main__":
    main()
