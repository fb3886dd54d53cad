"""With the same weights, the same numbers as Hugging Face's GPT-2 and Llama."""

from __future__ import annotations

import importlib.util
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from qmgen.learning.lm.model import Arithmetic, LmShape, forward, init

needs_transformers = pytest.mark.skipif(
    importlib.util.find_spec("torch") is None or importlib.util.find_spec("transformers") is None,
    reason="PyTorch and transformers are not installed (the test extra has them on Python 3.11)",
)
GPT = LmShape("gpt", 48, 3, 4, 4, 192, 61, 40)
LLAMAS = {
    "grouped heads": LmShape("llama", 48, 3, 6, 2, 128, 61, 40),
    "a head each": LmShape("llama", 64, 2, 4, 4, 172, 61, 40, eps=1e-6, theta=500.0),
    "one for all": LmShape("llama", 32, 2, 4, 1, 88, 61, 40),
}


def randomized(shape: LmShape, seed: int = 0) -> Any:
    """Weights of order one everywhere: biases and scales too, so that a forgotten one shows."""
    leaves, tree = jax.tree.flatten(init(jax.random.key(seed), shape))
    rng = np.random.default_rng(seed)
    made = []
    for leaf in leaves:
        spread = 1.5 / np.sqrt(leaf.shape[-2]) if leaf.ndim > 1 and leaf.shape[-2] > 3 else 0.3
        made.append(jnp.asarray(spread * rng.normal(size=leaf.shape) + (leaf == 1.0), jnp.float32))
    return jax.tree.unflatten(tree, made)


def ours(shape: LmShape, params: Any, tokens: np.ndarray) -> np.ndarray:
    positions = jnp.broadcast_to(jnp.arange(tokens.shape[1]), tokens.shape)
    return np.asarray(forward(params, shape, Arithmetic(), jnp.asarray(tokens), positions, jnp.ones_like(positions)))


def tokens_of(shape: LmShape) -> np.ndarray:
    return np.random.default_rng(5).integers(0, shape.vocabulary, (3, 37)).astype(np.int32)


def put(target: Any, name: str, values: Any) -> None:
    import torch

    tensor = target.state_dict()[name]
    assert tensor.shape == values.shape, name
    tensor.copy_(torch.from_numpy(np.array(values)))


def agree(found: np.ndarray, theirs: Any) -> None:
    wanted = theirs.detach().numpy()
    assert np.abs(wanted).max() > 1.0  # numbers of order one, so that the tolerance means something
    # far above rounding, far below an error of a formula: float32 sums in another order differ by some 1e-6 here
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-4)
    assert np.abs(found - wanted).max() < 3e-5


@needs_transformers
def test_gpt_2() -> None:
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel

    config = GPT2Config(
        vocab_size=GPT.vocabulary, n_positions=GPT.context, n_embd=GPT.width, n_layer=GPT.layers, n_head=GPT.heads,
        layer_norm_epsilon=GPT.eps, resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0,
    )  # fmt: skip
    params, model = randomized(GPT), GPT2LMHeadModel(config).eval()
    put(model, "transformer.wte.weight", params["tokens"])
    put(model, "transformer.wpe.weight", params["positions"])
    for kind, name in (("scale", "weight"), ("bias", "bias")):
        put(model, f"transformer.ln_f.{name}", params["norm"][kind])
    names = {"norm1": "ln_1", "qkv": "attn.c_attn", "out": "attn.c_proj", "norm2": "ln_2", "up": "mlp.c_fc",
             "down": "mlp.c_proj"}  # fmt: skip
    for layer in range(GPT.layers):
        for own, theirs in names.items():
            weight = "scale" if own.startswith("norm") else "weight"  # Conv1D keeps (inputs, outputs), as we do
            put(model, f"transformer.h.{layer}.{theirs}.weight", params["blocks"][own][weight][layer])
            put(model, f"transformer.h.{layer}.{theirs}.bias", params["blocks"][own]["bias"][layer])
    tokens = tokens_of(GPT)
    agree(ours(GPT, params, tokens), model(torch.from_numpy(tokens).long()).logits)


@needs_transformers
@pytest.mark.parametrize("shape", LLAMAS.values(), ids=LLAMAS)
def test_llama_2(shape: LmShape) -> None:
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=shape.vocabulary, hidden_size=shape.width, intermediate_size=shape.inner,
        num_hidden_layers=shape.layers, num_attention_heads=shape.heads, num_key_value_heads=shape.kv_heads,
        max_position_embeddings=shape.context, rms_norm_eps=shape.eps, tie_word_embeddings=False,
        rope_parameters={"rope_type": "default", "rope_theta": shape.theta},
    )  # fmt: skip
    params, model = randomized(shape), LlamaForCausalLM(config).eval()
    put(model, "model.embed_tokens.weight", params["tokens"])
    put(model, "lm_head.weight", params["head"].T)
    put(model, "model.norm.weight", params["norm"]["scale"])
    names = {"q": "self_attn.q_proj", "k": "self_attn.k_proj", "v": "self_attn.v_proj", "out": "self_attn.o_proj",
             "gate": "mlp.gate_proj", "up": "mlp.up_proj", "down": "mlp.down_proj"}  # fmt: skip
    for layer in range(shape.layers):
        for own, theirs in names.items():
            put(model, f"model.layers.{layer}.{theirs}.weight", params["blocks"][own]["weight"][layer].T)
        for own, theirs in (("norm1", "input_layernorm"), ("norm2", "post_attention_layernorm")):
            put(model, f"model.layers.{layer}.{theirs}.weight", params["blocks"][own]["scale"][layer])
    tokens = tokens_of(shape)
    agree(ours(shape, params, tokens), model(torch.from_numpy(tokens).long()).logits)
