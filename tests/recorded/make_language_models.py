"""Writes language_models.npz: what the library transformers makes of fixed weights.

Nothing of the package is used here. Run by hand where PyTorch and transformers are installed, which
no test needs:

    python tests/recorded/make_language_models.py

Of each model: 'names', JSON of its weights' names and shapes, the inputs, and the outputs. The
weights are `weights.array` by name, norms' scales and others alike.
"""

import json
import pathlib

import numpy as np
import torch
import transformers
import weights
from transformers.models.t5.modeling_t5 import T5Attention

VOCABULARY, LENGTH = 50, 9


def filled(model):
    """The model with weights by their names; and the names and shapes."""
    state, names = model.state_dict(), {}
    for name, x in state.items():
        if name.startswith("encoder.embed_tokens") or name.startswith("decoder.embed_tokens"):
            name = "shared.weight"
        elif name in ("cls.predictions.decoder.weight", "cls.predictions.decoder.bias"):
            tied = {"weight": "bert.embeddings.word_embeddings.weight"}
            name = {**tied, "bias": "cls.predictions.bias"}[name.rpartition(".")[2]]
        elif isinstance(model, transformers.GPT2LMHeadModel) and name == "lm_head.weight":
            name = "transformer.wte.weight"
        elif name == "lm_head.weight" and model.config.scale_decoder_outputs:
            name = "shared.weight"
        if not x.is_floating_point():
            continue
        x.copy_(torch.tensor(weights.array(name, tuple(x.shape))))
        names[name] = list(x.shape)
    return model.double().eval(), names


def tokens(name, length=LENGTH):
    rng = np.random.default_rng(len(name) + length)
    return torch.tensor(rng.integers(3, VOCABULARY, (2, length)))


def gpt2(name):
    config = transformers.GPT2Config(
        vocab_size=VOCABULARY, n_positions=12, n_embd=12, n_layer=2, n_head=3
    )
    model, names = filled(transformers.GPT2LMHeadModel(config))
    text = tokens(name)
    return names, {"text": text}, {"logits": model(text).logits}


def bert(name):
    config = transformers.BertConfig(
        vocab_size=VOCABULARY,
        hidden_size=12,
        num_hidden_layers=2,
        num_attention_heads=3,
        intermediate_size=20,
        max_position_embeddings=12,
    )
    model, names = filled(transformers.BertForPreTraining(config))
    text = tokens(name)
    there = torch.tensor([[1] * LENGTH, [1] * 6 + [0] * (LENGTH - 6)])
    segments = torch.tensor([[0] * 4 + [1] * (LENGTH - 4)] * 2)
    found = model(text, attention_mask=there, token_type_ids=segments)
    outputs = {"logits": found.prediction_logits, "follows": found.seq_relationship_logits}
    return names, {"text": text, "there": there, "segments": segments}, outputs


def t5(name, **knobs):
    config = transformers.T5Config(
        vocab_size=VOCABULARY,
        d_model=12,
        d_kv=5,
        d_ff=20,
        num_layers=2,
        num_heads=3,
        relative_attention_num_buckets=8,
        relative_attention_max_distance=6,
        **knobs,
    )
    model = transformers.T5ForConditionalGeneration(config)
    if not model.config.scale_decoder_outputs:  # version 1.1
        model.lm_head.weight = torch.nn.Parameter(model.lm_head.weight.clone())
    model, names = filled(model)
    text, written = tokens(name), tokens(name, 7)
    there = torch.tensor([[1] * LENGTH, [1] * 6 + [0] * (LENGTH - 6)])
    found = model(text, attention_mask=there, decoder_input_ids=written)
    return names, {"text": text, "there": there, "written": written}, {"logits": found.logits}


def main():
    makers = {
        "gpt2": gpt2,
        "bert": bert,
        "t5": t5,
        "t5_1_1": lambda name: t5(name, feed_forward_proj="gated-gelu", tie_word_embeddings=False),
    }
    arrays = {}
    with torch.no_grad():
        for model, make in makers.items():
            names, inputs, outputs = make(model)
            arrays[f"{model}/names"] = np.array(json.dumps(names))
            for name, x in inputs.items():
                arrays[f"{model}/{name}"] = np.int8(x.numpy())
            for name, x in outputs.items():
                arrays[f"{model}/{name}"] = np.float32(x.numpy())
    distances = torch.arange(-300, 301)  # of a key ahead of its query
    for both in (True, False):
        found = T5Attention._relative_position_bucket(distances, both, 32, 128)
        arrays[f"buckets/{'both' if both else 'causal'}"] = np.int8(found.numpy())
    np.savez_compressed(pathlib.Path(__file__).parent / "language_models.npz", **arrays)


if __name__ == "__main__":
    main()
