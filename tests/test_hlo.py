"""What a training step sends between devices: embeddings and gradients, nothing that is large."""

import pathlib

import jax
import jax.numpy as jnp
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from ssl_jax import config as configs
from ssl_jax.data.pipeline import train_dataset
from ssl_jax.devices.collectives import bytes_by_kind, collectives
from ssl_jax.devices.sharding import Sharding, by_rows, replicated
from ssl_jax.objectives.contrastive import nt_xent
from ssl_jax.train import train_step
from ssl_jax.training.start import starter

CONFIG = pathlib.Path(__file__).parent.parent / "configs" / "image" / "simclr_cifar10.py"
ROWS, WIDTH, DEVICES = 48, 8, 4


def step_text(chunk: int = 0, micro_batches: int = 1) -> tuple[str, int, int]:
    """HLO of SimCLR's training step on four devices, as `fit` compiles it.

    And how many weights there are, and how many running statistics of BatchNorm.
    """
    config = configs.load(f"{CONFIG}:tiny")
    config.batch_size, config.method.chunk = ROWS, chunk
    config.method.embedding = WIDTH
    config.micro_batches = micro_batches
    experiment = configs.build(config)
    method = experiment.trained_method()
    sharding = Sharding(devices=DEVICES)
    mesh = sharding.mesh()
    optimizer = experiment.optimizer.build(experiment.steps)
    state = jax.eval_shape(starter(optimizer, experiment))
    shardings = sharding.of_state(mesh, state)
    batch = {
        k: jax.ShapeDtypeStruct(v.shape, v.dtype, sharding=by_rows(mesh))
        for k, v in train_dataset(experiment.source, method.views, ROWS, 0)[0].items()
    }
    step = jax.jit(
        lambda state, batch: train_step(method, optimizer, experiment, state, batch),
        donate_argnums=0,
        out_shardings=(shardings, replicated(mesh)),
    )
    text = step.lower(state.abstract(shardings), batch).compile().as_text()
    sizes = [sum(x.size for x in jax.tree.leaves(tree)) for tree in (state.params, state.state)]
    return text, *sizes


def gathered(text: str) -> list[tuple[int, ...]]:
    """Shapes of what every device gets whole, except lists of a number a row."""
    arrays = [a for one in collectives(text) if one.kind == "all-gather" for a in one.arrays]
    return [shape for _, shape in arrays if len([n for n in shape if n > 1]) > 1]


def test_only_embeddings_are_gathered_and_gradients_are_summed():
    text, weights, statistics = step_text()
    found = collectives(text)
    shapes = gathered(text)
    assert shapes
    assert {tuple(sorted(shape)) for shape in shapes} == {(WIDTH, ROWS)}
    # Nothing else changes places: no rows, no activations, no logits.
    assert {one.kind for one in found} == {"all-gather", "all-reduce"}
    summed = [shape for one in found if one.kind == "all-reduce" for _, shape in one.arrays]
    assert not [shape for shape in summed if shape.count(ROWS) > 1]
    # What is summed are gradients, statistics of BatchNorm, and what embeddings are due as keys.
    total = bytes_by_kind(found)
    keys = 4 * 4 * ROWS * WIDTH
    normed = 3 * 4 * statistics  # some sums a channel, there and back
    assert 4 * weights <= total["all-reduce"] <= 4 * weights + keys + normed
    assert total["all-gather"] <= 2 * keys


def test_chunks_are_gathered_one_at_a_time():
    chunk = 12
    text, _, _ = step_text(chunk=chunk)
    shapes = gathered(text)
    assert shapes
    assert {tuple(sorted(shape)) for shape in shapes} == {(WIDTH, chunk)}
    blocks = [one for one in collectives(text) if one.kind == "all-gather" and one.times > 1]
    assert {one.times for one in blocks} == {ROWS // chunk}
    assert {one.kind for one in collectives(text)} == {"all-gather", "all-reduce"}


def test_micro_batches_leave_rows_where_they_are():
    text, _, _ = step_text(micro_batches=3)
    assert {tuple(sorted(shape)) for shape in gathered(text)} == {(WIDTH, ROWS)}
    assert {one.kind for one in collectives(text)} == {"all-gather", "all-reduce"}


def test_logits_that_were_gathered_would_be_seen():
    mesh = Sharding(devices=DEVICES).mesh()
    rows = jax.ShapeDtypeStruct((ROWS, WIDTH), jnp.float32, sharding=by_rows(mesh))
    everywhere = replicated(mesh)
    program = jax.jit(lambda a, b: a @ b.T, out_shardings=everywhere).lower(rows, rows)
    kinds = collectives(program.compile().as_text())
    assert any(one.arrays[0][1] == (ROWS, ROWS) for one in kinds)


LOOP = """
HloModule jit_f

%body.1 (p: (s32[], f32[8,4])) -> (s32[], f32[8,4]) {
  %ag = (bf16[2,4]{1,0}, bf16[8,4]{1,0}) all-gather-start(%x), dimensions={0}
  ROOT %t = (s32[], f32[8,4]{1,0}) tuple(%a, %b)
}

%inner (p: f32[]) -> f32[] {
  %ar = (f32[8,4]{1,0}, f32[]) all-reduce(%x, %y), metadata={op_name="jit(f)/sum"}
}

ENTRY %main (p: f32[8,4]) -> f32[8,4] {
  %w = (s32[], f32[8,4]{1,0}) while(%t), condition=%c, body=%body.1, backend_config={"known_trip_count":{"n":"5"}}
  %c.1 = f32[] call(%x), to_apply=%inner
  ROOT %cp = (f32[8]{0}, f32[8]{0}, u32[], u32[]) collective-permute-start(%x)
}
"""  # noqa: E501


def test_loops_and_asynchronous_collectives_are_counted():
    gather, reduce, permute = collectives(LOOP)
    assert (gather.kind, gather.times, gather.bytes) == ("all-gather", 5, 5 * 8 * 4 * 2)
    assert (reduce.times, reduce.bytes, reduce.source) == (1, 4 * 33, "jit(f)/sum")
    assert (permute.kind, permute.bytes) == ("collective-permute", 32)
    assert bytes_by_kind([gather, reduce, permute]) == {
        "all-gather": 320,
        "all-reduce": 132,
        "collective-permute": 32,
    }


@pytest.mark.parametrize("chunk", [0, 16])
def test_the_loss_keeps_its_rows_apart_whatever_the_mesh(chunk):
    """Rows over both axes of a mesh, as under fsdp with copies."""
    mesh = Sharding(rule="fsdp", shape=(2, 2), devices=4).mesh()
    rows = NamedSharding(mesh, PartitionSpec(mesh.axis_names))
    z = jax.ShapeDtypeStruct((64, WIDTH), jnp.float32, sharding=rows)
    both = jax.jit(jax.value_and_grad(lambda a, b: nt_xent(a, b, 0.1, chunk)[0], argnums=(0, 1)))
    shapes = gathered(both.lower(z, z).compile().as_text())
    assert {tuple(sorted(shape)) for shape in shapes} == {(WIDTH, chunk or 64)}
