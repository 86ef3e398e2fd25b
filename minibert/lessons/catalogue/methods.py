"""What the five methods of tuning train, and what a layer keeps for backward."""

from minibert.lessons.exercise import Exercise


def _names(layers, with_adapters: bool) -> list[str]:
    leaves = ["query/W", "output/b", "norm/gamma", "norm/beta"]
    leaves += ["adapter/down/W", "adapter/up/b"] if with_adapters else []
    names = ["embeddings/word/W", "embeddings/position/W", "embeddings/norm/gamma", "embeddings/norm/beta"]
    for i in layers:
        names += [f"encoder/layers/{i}/attention/{leaf}" for leaf in leaves]
        names += [f"encoder/layers/{i}/feed_forward/{leaf.replace('query', 'intermediate')}" for leaf in leaves]
    return [*names, "head/W", "head/b"]


def _is_trained(_):
    """Every method, on names of a model of three layers; and of twelve, some of which have two digits. top_k counts for
    one method alone: others have it, too. First those where most is False, and a return that is missing gives None."""
    cases = []
    for method, top_k in (("head", 3), ("layernorm", 3), ("adapter", 3), ("full", 0), ("top_k", 1), ("top_k", 3)):
        cases += [(name, method, 3, top_k) for name in _names(range(3), method == "adapter")]
    return cases + [(name, "top_k", 12, k) for k in (1, 4) for name in _names((1, 7, 8, 10, 11), False)]


def _cache_sizes(rng):
    """Layers of different sizes, whose names train in different ways."""
    norms = {"attention/norm/gamma", "attention/norm/beta", "feed_forward/norm/gamma", "feed_forward/norm/beta"}
    adapters = {
        f"{block}/adapter/{leaf}"
        for block in ("attention", "feed_forward")
        for leaf in ("down/W", "down/b", "up/W", "up/b")
    }
    linear = {f"attention/{name}/{leaf}" for name in ("query", "key", "value", "output") for leaf in "Wb"}
    linear |= {f"feed_forward/{name}/{leaf}" for name in ("intermediate", "output") for leaf in "Wb"}
    one_adapter = {name for name in adapters if name.startswith("feed_forward/")}
    methods = (
        norms | adapters,
        norms | linear,
        norms,
        set(),
        one_adapter,
        {"attention/value/W", "feed_forward/output/W"},
    )
    methods += ({"attention/output/W", "attention/output/b"}, {"feed_forward/intermediate/W"})
    methods += ({name for name in linear if name.endswith("/b")},)  # a bias alone does not keep the input
    methods += ({"attention/query/W"}, {"attention/key/W"})
    return [(trained, *(int(n) for n in rng.choice(range(3, 40), 4, replace=False))) for trained in methods]


_BIASES = ("attention/output/b", "feed_forward/intermediate/b", "feed_forward/output/b")
_BIASES += ("attention/query/b", "attention/key/b", "attention/value/b")
_HEAD = 'name.startswith("head/")'
_NORM = '"/norm/" in name'

EXERCISES = (
    Exercise(
        "is_trained",
        9,
        outputs=("trained",),
        cases=_is_trained,
        hints=(
            "The head is new for each task. Which method could leave it as it is?",
            'The names tell: "head/", "/adapter/", "/norm/", and the layer is name.split("/")[2] as a number.',
            "top_k: layer >= n_layers - top_k; and if top_k is n_layers, everything, the embeddings too.",
        ),
        mistakes=(
            (
                'return "/adapter/" in name or "/norm/" in name',
                'return "/adapter/" in name',
                "the LayerNorms are forgotten: adapter tuning trains them, too (section 2.1 of the paper)",
            ),
            (
                'name.startswith("head/") or method == "full"',
                'method == "full"',
                "the head is forgotten: every method trains it",
            ),
            (
                _NORM,
                f'"layers/" in name and {_NORM}',
                "the LayerNorm after the embeddings is forgotten: it is one of the LayerNorms",
            ),
            (
                'return "/adapter/" in name or "/norm/" in name',
                'return "/adapter/" in name or ("/norm/" in name and in_layer >= 0)',
                "method adapter forgets the LayerNorm after the embeddings",
            ),
            (
                'return method == "layernorm" and "/norm/" in name',
                'return method == "layernorm" and "/norm/" in name and in_layer >= 0',
                "method layernorm forgets the LayerNorm after the embeddings",
            ),
            (
                "in_layer >= n_layers - top_k",
                "0 <= in_layer < top_k",
                "top_k trains the lowest layers; it must be the highest, next to the head",
            ),
            ("in_layer >= n_layers - top_k", "in_layer > n_layers - top_k", "top_k trains one layer too few"),
            ("in_layer >= n_layers - top_k", "in_layer >= n_layers - top_k - 1", "top_k trains one layer too many"),
            (
                "return top_k == n_layers or ",
                "return ",
                "with top_k = n_layers everything trains, the embeddings too: that is full fine-tuning",
            ),
            *(
                (
                    _HEAD,
                    f'({_HEAD} and method != "{method}")',
                    f"method {method} forgets the head: every method trains it",
                )
                for method in ("adapter", "layernorm", "top_k", "head")
            ),
            *(
                (
                    "return top_k == n_layers or in_layer >= n_layers - top_k",
                    f"return in_layer {wrong}",
                    f"top_k trains one layer too {which}, and with top_k = n_layers the embeddings must train, too",
                )
                for wrong, which in (("> n_layers - top_k", "few"), (">= max(0, n_layers - top_k - 1)", "many"))
            ),
            (
                'method == "full"',
                '(method == "full" or top_k == n_layers)',
                'top_k counts for method "top_k" alone; here it makes others train everything',
            ),
            (
                "in_layer >= n_layers - top_k",
                '(in_layer >= 0 and name.split("/")[2] >= str(n_layers - top_k))',
                'the number of the layer is compared as text, in which "8" is above "11": int(…)',
            ),
            ("else -1", "else n_layers", "top_k trains the embeddings; they lie below the first layer"),
            (
                'int(name.split("/")[2])',
                'int(name.split("/")[2][0])',
                "only the first digit of the layer's number is read: layer 10 is taken for layer 1",
            ),
            (
                'method == "full"',
                '(method == "full" and in_layer >= 0)',
                "method full leaves the embeddings frozen; it trains everything",
            ),
            (
                'return "/adapter/" in name or "/norm/" in name',
                'return ("/adapter/" in name and name.endswith("/W")) or "/norm/" in name',
                "the biases of the adapters are forgotten",
            ),
        ),
    ),
    Exercise(
        "cache_sizes",
        9,
        outputs=("sizes",),
        cases=_cache_sizes,
        hints=(
            "y = x W + b. Which of dx = dy W.T and dW = x.T dy needs x?",
            "A product keeps its input if its own W trains. Softmax, GELU and LayerNorm keep what dx needs, always.",
            '"h": F * ("feed_forward/output/W" in trained), "q, k, v": 3 * D, "derivative of gelu": F, …',
        ),
        mistakes=(
            (
                '/W" in trained',
                '/W" in trained or True',
                "the inputs of frozen products are kept: x is needed for dW = x.T dy alone",
            ),
            ('"q, k, v": 3 * D', '"q, k, v": 0', "q, k and v are not kept; the softmax needs them, frozen or not"),
            (
                '"q, k, v": 3 * D',
                '"q, k, v": 3 * D * any(f"attention/{name}/W" in trained for name in ("query", "key", "value"))',
                "q, k and v are kept only if their weights train; attention's own products need them, frozen or not",
            ),
            (
                '"q, k, v": 3 * D',
                '"q, k, v": D * sum(f"attention/{name}/W" in trained for name in ("query", "key", "value"))',
                "each of q, k and v is kept only if its weight trains; attention's own products need all three",
            ),
            *(
                (
                    '"derivative of gelu": F',
                    f'"derivative of gelu": F * ("feed_forward/{name}/W" in trained)',
                    f"the derivative of gelu is kept only if the W of {name} trains; the gradient is multiplied by it "
                    "on its way down, frozen or not",
                )
                for name in ("intermediate", "output")
            ),
            (
                "return {",
                'trained = trained | {f"{name[:-1]}W" for name in trained if name.endswith("/b")}\n    return {',
                "a bias alone keeps an input: db is the sum of the rows of dy, and needs no x. Its own W decides",
            ),
            *(
                (
                    "return {",
                    f'trained = trained | {{name[:-1] + "W" for name in trained if name in {biases!r}}}\n    return {{',
                    f"a bias ({biases[0]}) keeps an input: db is the sum of the rows of dy, and needs no x. W decides",
                )
                for biases in (_BIASES[:1], _BIASES[1:2], _BIASES[2:3], _BIASES[:3], _BIASES[3:])
            ),
            *(
                (
                    '("query", "key", "value")',
                    f"{left!r}",
                    "the input of q, k and v is needed if any of their three weights trains; "
                    f"{', '.join({'query', 'key', 'value'} - set(left))} alone is forgotten",
                )
                for left in (("key", "value"), ("query", "value"), ("query", "key"))
            ),
            *(
                (
                    '("query", "key", "value")',
                    f'("{name}",)',
                    f"only the W of {name} decides on the input of q, k and v; any of the three needs it",
                )
                for name in ("query", "key", "value")
            ),
            (
                '"derivative of gelu": F',
                '"derivative of gelu": 0',
                "the derivative of gelu is not kept; the gradient is multiplied by it on its way down, frozen or not",
            ),
            (
                "D + 1",
                "0",
                "the LayerNorms keep nothing; their dx needs n and inverse_std, whether gamma trains or not",
            ),
            (
                "D + 1",
                '(D + 1) * ("attention/norm/gamma" in trained)',
                "the LayerNorms keep n and inverse_std only if gamma trains; their dx needs both in any case",
            ),
            ("D + 1", "D", "a LayerNorm keeps one number more for each token: inverse_std"),
            ("D + 1", "2 * D", "a LayerNorm keeps n (D) and inverse_std, one number for each token"),
            ("D * any(", "D * sum(", "q, k and v read one x: it is kept once, not for each of them"),
            ("any(", "all(", "the input of q, k and v is needed if one of their three weights trains"),
            ('("attention/output/W" in trained)', "1", "attended is kept for the frozen output product of attention"),
            ('("feed_forward/intermediate/W" in trained)', "1", "the input of the frozen intermediate product is kept"),
            ('("feed_forward/output/W" in trained)', "1", "h is kept for the frozen output product of feed-forward"),
            (
                'adapter/up/b" in trained',
                'adapter/up/b" in trained or True',
                "an adapter that is not there keeps something: adapters are there if their names train",
            ),
            ('"lse": H', '"lse": 1', "lse is one number for each head"),
            ("D + 2 * M", "D + M", "an adapter keeps the derivative of gelu and h, both (M,), beside its input"),
            ("D + 2 * M", "2 * M", "the input of an adapter is forgotten: its W_down trains"),
            (
                '"h": F * ("feed_forward/output/W" in trained)',
                '"h": F * ("feed_forward/intermediate/W" in trained)',
                "h is the input of the output's W: that one decides whether it is kept",
            ),
        ),
    ),
)
