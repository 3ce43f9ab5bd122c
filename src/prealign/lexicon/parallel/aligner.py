"""Word alignment of sentence pairs, by the fast_align model of SIL Thot (`pip install 'prealign[align]'`).

1. Train the model in both directions: each word of one side is translated from one word of the other, or from none,
   preferably from one near the diagonal (Dyer, Chahuneau and Smith, 2013). Five rounds of expectation-maximisation.
2. Align each pair in both directions and join the two by grow-diag: the links both agree on, and those of either that
   touch them and reach a word without a link.

Nothing is drawn at random: the same pairs in the same order give the same links.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from prealign.errors import needed
from prealign.lexicon.reading_report import OnSteps

ROUNDS = 5
_BATCH = 1000

Pair = tuple[Sequence[str], Sequence[str]]


def align_words(pairs: Sequence[Pair], on_steps: OnSteps) -> Iterator[list[tuple[int, int]]]:
    """Yield, for each pair of (words, words), its links (i, j): word i of one is aligned to word j of the other.

    Both sides have at least one word. LexiconError if the aligner is not installed.
    """
    thot = needed("thot.alignment", doing="aligning parallel text", package="sil-thot", extra="align")
    models = [thot.FastAlignModel() for _ in range(2)]
    for number, model in enumerate(models):
        for pair in pairs:
            model.add_sentence_pair(*(list(side) for side in (pair if number == 0 else pair[::-1])))
        model.start_training()
        for step in range(ROUNDS):
            on_steps("training the aligner", number * ROUNDS + step, len(models) * ROUNDS)
            model.train()
        model.end_training()
    on_steps("training the aligner", len(models) * ROUNDS, len(models) * ROUNDS)
    both = thot.SymmetrizedAligner(*models)
    both.heuristic = thot.SymmetrizationHeuristic.GROW_DIAG
    for begin in range(0, len(pairs), _BATCH):
        on_steps("aligning sentences", begin, len(pairs))
        sources, targets = zip(*pairs[begin : begin + _BATCH], strict=True)
        for _, matrix in both.get_best_alignments(list(map(list, sources)), list(map(list, targets))):
            yield [(int(i), int(j)) for i, j in zip(*matrix.to_numpy().nonzero(), strict=True)]
    on_steps("aligning sentences", len(pairs), len(pairs))
