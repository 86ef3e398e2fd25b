"""From text to a packed batch."""

from minibert.lessons.exercise import Exercise

MOST_LOOK_UPS = 10_000  # of one word: a right answer needs some fifty


class Vocabulary(dict):
    """A vocabulary that ends a loop that never ends. Raises RuntimeError after MOST_LOOK_UPS."""

    n_look_ups = 0

    def __deepcopy__(self, memo):
        return Vocabulary(self.items())

    def _count(self):
        self.n_look_ups += 1
        if self.n_look_ups > MOST_LOOK_UPS:
            raise RuntimeError(f"{MOST_LOOK_UPS:,} look-ups for one word: does start move to the end of each piece?")

    def __contains__(self, piece):
        self._count()
        return super().__contains__(piece)

    def __getitem__(self, piece):
        self._count()
        return super().__getitem__(piece)

    def get(self, piece, default=None):
        """As of a dict."""
        self._count()
        return super().get(piece, default)


def _wordpiece(rng):
    """unreal: the longest piece leads nowhere, a shorter one would not. filmplay: play may not go on a word."""
    begin = ["un", "unaff", "unre", "film", "fil", "play", "a", "b", "able", "aff"]
    go_on = ["aff", "able", "a", "b", "s", "ms", "ing", "i", "ab", "ff", "real"]
    vocab = {piece: i for i, piece in enumerate([*begin, *(f"##{piece}" for piece in go_on)])}
    words = ["unaffable", "films", "filmsing", "playing", "abab", "able", "xable", "playx", "film", "a", "ab", "unable"]
    words += ["unreal", "filmplay", "ing"]
    return [(word, Vocabulary(vocab)) for word in words]


def _pack(rng):
    return [([rng.integers(0, 99, n).tolist() for n in lengths],) for lengths in ((3, 5, 1), (4,), (2, 2, 6, 1))]


_GOES_BACK = """def cut(start):
        if start == len(word):
            return []
        for end in range(len(word), start, -1):
            piece = ("##" if start > 0 else "") + word[start:end]
            if piece in vocab and (rest := cut(end)) is not None:
                return [piece, *rest]
    return cut(0) or ["[UNK]"]
    pieces, start = [], 0"""
_WITHOUT_MARK = """if end is None and prefix:
            prefix, end = "", next((end for end in ends if word[start:end] in vocab), None)
        if end is None:"""


EXERCISES = (
    Exercise(
        "wordpiece",
        2,
        outputs=("pieces",),
        cases=_wordpiece,
        hints=(
            "Which piece is taken first: the shortest that fits, or the longest?",
            'Begin with end = len(word) and go down until word[start:end] is in vocab; "##" is put before it if '
            "start > 0.",
            'If no end is found, the whole word is ["[UNK]"], and not only its rest.',
        ),
        mistakes=(
            (
                "ends = range(len(word), start, -1)",
                "ends = range(start + 1, len(word) + 1)",
                "the shortest piece is taken; WordPiece takes the longest that the vocabulary has",
            ),
            ('prefix = "##" if start > 0 else ""', 'prefix = ""', 'pieces after the first must begin with "##"'),
            (
                'prefix = "##" if start > 0 else ""',
                'prefix = "##"',
                'the first piece of a word has no "##"',
            ),
            (
                'return ["[UNK]"]',
                'return pieces + ["[UNK]"]',
                "only the rest of the word became [UNK]; if a rest has no piece, the whole word is [UNK]",
            ),
            ('return ["[UNK]"]', "return pieces", "a rest without a piece was dropped; the whole word is [UNK]"),
            (
                'return ["[UNK]"]',
                'return pieces or ["[UNK]"]',
                "the rest of a word was dropped; if a rest has no piece, the whole word is [UNK]",
            ),
            (
                'return ["[UNK]"]',
                "start += 1; continue",
                "a letter that begins no piece was skipped; if a rest has no piece, the whole word is [UNK]",
            ),
            (
                "start = end",
                "return pieces",
                "there is never more than one piece: is the return inside the loop?",
            ),
            (
                "pieces.append(prefix + word[start:end])",
                "pieces.append(word[start:end])",
                'the piece is found with "##", and must be returned with it, too',
            ),
            (
                "pieces.append(prefix + word[start:end])",
                "pieces.append(vocab[prefix + word[start:end]])",
                "these are the numbers of the pieces; return the pieces themselves",
            ),
            (
                "ends = range(len(word), start, -1)",
                "ends = range(len(word) - 1, start, -1)",
                "a piece that ends where the word ends is never tried: begin with end = len(word)",
            ),
            (
                "pieces, start = [], 0",
                _GOES_BACK,
                "it goes back to a shorter piece if the rest has none; WordPiece never goes back: the word is [UNK]",
            ),
            (
                "if end is None:",
                _WITHOUT_MARK,
                'a piece without "##" is taken in the middle of a word; if none with "##" fits, the word is [UNK]',
            ),
        ),
    ),
    Exercise(
        "pack",
        2,
        outputs=("ids", "positions", "offsets"),
        cases=_pack,
        hints=(
            "How many numbers does it take to say where B sequences begin and where the last one ends?",
            "Positions begin again at 0 in each sequence.",
            "offsets = [0] and then the cumulative sum of the lengths: B + 1 numbers.",
        ),
        mistakes=(
            (
                "positions = np.concatenate([np.arange(length) for length in lengths])",
                "positions = np.arange(len(ids))",
                "positions run on through the batch; they begin again at 0 in each sequence",
            ),
            (
                "offsets = np.concatenate([[0], np.cumsum(lengths)])",
                "offsets = np.concatenate([[0], np.cumsum(lengths)])[:-1]",
                "offsets has B numbers: the end of the last sequence is missing; there are B + 1",
            ),
            (
                "offsets = np.concatenate([[0], np.cumsum(lengths)])",
                "offsets = np.cumsum(lengths)",
                "offsets has no 0 in front: it must begin where the first sequence begins",
            ),
            (
                "offsets = np.concatenate([[0], np.cumsum(lengths)])",
                "offsets = np.array(lengths)",
                "these are the lengths; offsets are their cumulative sums, with a 0 in front",
            ),
            (
                "offsets = np.concatenate([[0], np.cumsum(lengths)])",
                "offsets = np.array([0, *lengths])",
                "these are the lengths, with a 0 in front; offsets are their cumulative sums",
            ),
            (
                "np.arange(length)",
                "np.arange(1, length + 1)",
                "positions begin at 1; the first token of a sequence has position 0",
            ),
            (
                "return ids, positions, offsets",
                "return ids, offsets, positions",
                "the order of what is returned is ids, positions, offsets",
            ),
            (
                "positions = np.concatenate([np.arange(length) for length in lengths])",
                "positions = np.repeat(np.arange(len(lengths)), lengths)",
                "these are the numbers of the sequences; a position is counted from the start of the sequence",
            ),
        ),
    ),
)
