"""How many parameters adapter tuning trains."""

from minibert.lessons.exercise import Exercise

_COUNTS = """    one_adapter = D * M + M + M * D + D
    one_layernorm = D + D
    adapters = 2 * L * one_adapter
    layernorms = (2 * L + 1) * one_layernorm
    head = D * C + C"""

EXERCISES = (
    Exercise(
        "adapter_parameters",
        1,
        outputs=("parameters",),
        cases=lambda rng: [(7, 3, 2, 5), (384, 64, 6, 2), (11, 4, 3, 1)],
        hints=(
            "What is trained? Adapters, LayerNorms, the head. How many of each are there, and how large is one?",
            "A linear layer from n to m numbers has n m weights and m biases. An adapter is two of them.",
            "2 L adapters of 2 M D + D + M; 2 L + 1 LayerNorms of 2 D, one of them after the embeddings; a head of "
            "D C + C.",
        ),
        mistakes=(
            (
                "one_adapter = D * M + M + M * D + D",
                "one_adapter = D * M + M * D",
                "the biases of the adapters are missing: M of b_down and D of b_up",
            ),
            (
                "adapters = 2 * L",
                "adapters = L",
                "there are two adapters a layer: after attention, and after the feed-forward block",
            ),
            (
                "adapters = 2 * L * one_adapter",
                "adapters = 2 * one_adapter",
                "these are the adapters of one layer; there are L layers",
            ),
            ("(2 * L + 1) * one", "2 * L * one", "the LayerNorm after the embeddings is missing: there are 2 L + 1"),
            ("adapters + layernorms + head", "adapters + layernorms", "the head is missing: D C weights, C biases"),
            ("adapters + layernorms + head", "adapters + head", "the LayerNorms are missing: they are trained, too"),
            ("(2 * L + 1) * one", "(L + 1) * one", "there are two LayerNorms a layer, one after each block"),
            ("(2 * L + 1) * one", "L * one", "there are two LayerNorms a layer, and one after the embeddings"),
            ("adapters + layernorms + head", "adapters", "LayerNorms and head are missing: they are trained, too"),
            ("head = D * C + C", "head = D * C", "the bias of the head is missing: C numbers"),
            ("one_layernorm = D + D", "one_layernorm = D", "a LayerNorm has gamma and beta: 2 D numbers"),
            ("one_layernorm = D + D", "one_layernorm = 2", "gamma and beta have D numbers each, and not one"),
            (
                "one_adapter = D * M + M + M * D + D",
                "one_adapter = D * M + M",
                "W_up and b_up are missing: the adapter goes back from M to D",
            ),
            ("one_adapter = D * M + M + M * D + D", "one_adapter = D * M + M + M * D + M", "b_up has D numbers, not M"),
            (
                "one_adapter = D * M + M + M * D + D",
                "one_adapter = D * M + D + M * D + D",
                "b_down has M numbers, not D",
            ),
            (
                _COUNTS,
                "    adapters, layernorms, head = 4 * L * D * M, (2 * L + 1) * 2 * D, D * C",
                "the biases are missing: those of the adapters (M + D each) and that of the head (C)",
            ),
        ),
    ),
)
