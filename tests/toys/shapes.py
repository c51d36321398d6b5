"""Shapes of Llama-like models, written down without building any."""

from sweep.shape import Linear, ModelShape

PARTS = {
    "self_attn.q_proj": ("attention in", "hidden", "queries"),
    "self_attn.k_proj": ("attention in", "hidden", "keys"),
    "self_attn.v_proj": ("attention in", "hidden", "keys"),
    "self_attn.o_proj": ("attention out", "queries", "hidden"),
    "mlp.gate_proj": ("feed-forward in", "hidden", "inner"),
    "mlp.up_proj": ("feed-forward in", "hidden", "inner"),
    "mlp.down_proj": ("feed-forward out", "inner", "hidden"),
}


def llama_shape(  # noqa: PLR0917
    hidden: int = 64,
    inner: int = 128,
    layers: int = 2,
    heads: int = 4,
    keys: int = 2,
    vocabulary: int = 260,
    *,
    tied: bool = True,
) -> ModelShape:
    """A Llama of these sizes; the default is the tests' tiny model."""
    width = hidden // heads
    sizes = {"hidden": hidden, "inner": inner, "queries": heads * width, "keys": keys * width}
    linears = tuple(
        Linear(f"model.layers.{layer}.{name}", sizes[inputs], sizes[outputs], layer, reads)
        for layer in range(layers)
        for name, (reads, inputs, outputs) in PARTS.items()
    )
    embeddings = vocabulary * hidden
    head = 0 if tied else embeddings
    norms = (2 * layers + 1) * hidden
    return ModelShape(
        architecture="llama",
        hidden=hidden,
        vocabulary=vocabulary,
        layers=layers,
        heads=heads,
        key_value_heads=keys,
        head_width=width,
        norms=2,
        head_norms=False,
        linears=linears,
        embedding_parameters=embeddings,
        head_parameters=head,
        total_parameters=sum(linear.size for linear in linears) + embeddings + head + norms,
        context=1024,
        is_known=True,
    )
