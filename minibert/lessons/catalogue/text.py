"""From text to a packed batch."""

from minibert.lessons.exercise import Exercise


def _wordpiece(rng):
    begin, go_on = ["un", "unaff", "film", "fil", "play", "a", "b", "able", "aff"], ["aff", "able", "a", "b", "s", "ms"]
    go_on += ["ing", "i", "ab", "ff"]
    vocab = {piece: i for i, piece in enumerate([*begin, *(f"##{piece}" for piece in go_on)])}
    words = ["unaffable", "films", "filmsing", "playing", "abab", "able", "xable", "playx", "film", "a", "ab", "unable"]
    return [(word, vocab) for word in words]


def _pack(rng):
    return [([rng.integers(0, 99, n) for n in lengths],) for lengths in ((3, 5, 1), (4,), (2, 2, 6, 1))]


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
