"""Word alignment as an objective: the words of a step, their states, and their loss over all ranks.

1. A batch is a few translation groups of the lexicon. The step number decides which (`words`).
2. The model encodes their forms at every layer (`states`). With `micro_pairs` it encodes them in micro-batches and
   recomputes the activations in the backward pass. A step still has one forward and one backward.
3. The states of all ranks are gathered with gradients. Each rank scores the joined batch (`loss`). The mean gradient
   over ranks equals the gradient of one process on the joined batch.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.nn.functional import all_gather
from torch.nn import functional as F

from prealign.errors import LexiconError, RecipeError
from prealign.lexicon import Lexicon
from prealign.methods.alignment.layers import layer_count, layer_slice
from prealign.methods.alignment.loss import TILE, ExcludedPairs, WordAlignmentLoss
from prealign.methods.alignment.states import ROW, bos_id, encoded_word_states, tied
from prealign.methods.alignment.words import OneSense, WordForms, WordSizes, word_forms
from prealign.methods.flops import BACKWARD, forward_flops_per_token, training_flops
from prealign.methods.memory import words_memory
from prealign.methods.phase import Cost, Objective
from prealign.recipe.methods import Layers
from prealign.text.words import Tokenizer

# L layers, W word forms, D width

Senses = Literal["all", "one"]

LEAST_GROUPS = 2
"""Translation groups that the loss needs: with one, no word has a negative."""


class WordFormAlignment(Objective):
    """L_align of a batch of translation groups, for word forms in token ids.

    words: the forms; `cost` and `memory` work with their sizes alone. groups: translation groups in a batch on one
    device. temperature: tau. layers: those that the loss averages over. bos: token id placed before each word; None for no
    token. micro_pairs: groups whose activations are in memory at once, None for all; it does not change the gradient.
    senses: all translations of a group, or one per target language, drawn in each pass anew. one_way: the states of source
    words are constants, so the loss moves target words only. neighbours: groups that come together in a batch, since
    their source words begin alike. seed: decides the order of the groups and the draws.

    Raises LexiconError for words of fewer than `LEAST_GROUPS` groups.
    """

    name = "words"
    remedies: ClassVar[Mapping[str, str]] = {"align": "raise align.temperature"}

    def __init__(
        self,
        words: WordForms | WordSizes,
        *,
        groups: int = 256,
        temperature: float = 0.1,
        layers: Layers = "all",
        bos: int | None = None,
        micro_pairs: int | None = None,
        senses: Senses = "all",
        one_way: bool = False,
        neighbours: int = 1,
        seed: int = 0,
    ) -> None:
        if isinstance(words, WordForms) and words.groups < LEAST_GROUPS:
            raise LexiconError(
                f"alignment needs at least {LEAST_GROUPS} words with a translation that the tokenizer can write, since the "
                f"negatives of a word are other words; the training lexicon has {words.groups}. Add a dictionary, or lower "
                "lexicon.minimum_count or lexicon.held_out."
            )
        self.words = words.one_sense() if senses == "one" else words
        self.one_way, self.neighbours = one_way, neighbours
        self.groups, self.layers, self.bos = groups, layers, bos
        self.micro_pairs, self.senses, self.seed = micro_pairs, senses, seed
        self.score = WordAlignmentLoss(temperature)

    def batch(self, step: int, rank: int = 0, ranks: int = 1) -> dict[str, Tensor]:
        """Return the batch of step `step` on one rank: word_ids (W, n), word_lengths, word_groups, word_surfaces (W,).

        With one sense also member_groups and member_surfaces (M,), those of all forms of the groups.
        """
        assert isinstance(self.words, WordForms | OneSense), "a batch needs word forms, not their sizes alone"
        return self.words.numbered_batch(step * ranks + rank, self.groups, self.seed, self.neighbours)

    # Word batches have many shapes, and torch.compile would compile each; text batches have one shape.
    @torch.compiler.disable
    def encode(self, model: Any, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return "states" (L', W, D): the states of the layers selected by `layers`."""
        if not self.one_way:
            return {"states": self._states(model, batch)[selected(self.layers, model)]}
        source = batch["word_source"]
        with torch.no_grad():
            constant = self._states(model, batch, source)
        moved = self._states(model, batch, ~source)
        order = torch.cat([source.nonzero()[:, 0], (~source).nonzero()[:, 0]]).argsort()
        states = torch.cat([constant, moved], dim=1).index_select(1, order)
        return {"states": states[selected(self.layers, model)]}

    def _states(self, model: Any, batch: Mapping[str, Tensor], chosen: Tensor | None = None) -> Tensor:
        """Return the states (L', W', D) of all forms, or of those that a mask (W,) chooses. Every rank has some."""
        keys = ("word_groups", "word_ids", "word_lengths")
        groups, ids, lengths = (batch[key] if chosen is None else batch[key][chosen] for key in keys)
        forms, pairs = maxima_over_ranks(len(groups), len(groups.unique()), device=groups.device)
        micro = None
        if self.micro_pairs is not None and self.micro_pairs < pairs:
            micro = math.ceil(self.micro_pairs * forms / pairs)
        return encoded_word_states(model, ids, lengths, self.bos, micro, forms)

    def loss(self, encoded: Mapping[str, Tensor], batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return "align": L_align over the words of all ranks, a scalar."""
        states, groups, surfaces = gather_words(encoded["states"], batch["word_groups"], batch["word_surfaces"])
        members = gather_rows(batch["member_groups"], batch["member_surfaces"]) if "member_groups" in batch else None
        return {"align": self.score(states, groups, ExcludedPairs(groups, surfaces, members))}

    def cost(self, model: Any, devices: int = 1, *, freeze_body: bool = False) -> Cost:
        """Return the cost of the forward of the words, the similarities and the backward. A batch holds a group once.

        Constant states cost no backward; their similarities count as those of others.

        Each form counts as a sequence of its own tokens. Masked attention between the forms of a row and padding do not
        count.
        """
        groups, words = min(self.groups, self.words.groups), self.words
        length = words.mean_tokens_per_group / words.mean_forms_per_group
        tokens = groups * words.mean_tokens_per_group
        constant = groups * words.source_tokens_per_group if self.one_way else 0.0
        encode = training_flops(model, tokens - constant, length, logits=False, freeze_body=freeze_body)
        encode += constant * forward_flops_per_token(model, length, logits=False)
        similarities = similarity_flops(model, groups, words, devices, self.layers)
        return Cost(encode + similarities, tokens, similarities)

    def memory(self, model: Any, devices: int = 1, *, bf16: bool = False) -> float:
        """Return the bytes of the forms' activations, their states, and the similarities of a tile."""
        words = self.words
        layers = range(model.config.num_hidden_layers + (1 if model.config.tie_word_embeddings else 2))
        return words_memory(
            model,
            min(self.groups, words.groups) * words.mean_forms_per_group,
            words.mean_tokens_per_group / words.mean_forms_per_group,
            layers=len(layers[selected(self.layers, model)]),
            ranks=devices,
            bf16=bf16,
            tile=TILE,
            row=ROW,
            micro=self.micro_pairs and self.micro_pairs * words.mean_forms_per_group,
        )

    def check(self, model: Any) -> None:
        """Raise RecipeError for `layers="output"` if the model ties its embeddings."""
        selected(self.layers, model)

    def describe(self) -> dict[str, Any]:
        """Return the settings as JSON values."""
        return (
            {
                "objective": "word alignment",
                "groups": self.groups,
                "temperature": self.score.temperature,
                "layers": self.layers,
                "bos": self.bos is not None,
                "micro_pairs": self.micro_pairs,
            }
            | ({} if self.senses == "all" else {"senses": self.senses})
            | ({"one_way": True} if self.one_way else {})
            | ({"neighbours": self.neighbours} if self.neighbours > 1 else {})
        )


class WordAlignment(WordFormAlignment):
    """L_align for a lexicon: the objective of stage 1 and of sustained alignment.

    bos: encode each word after BOS, or after EOS if the tokenizer has no BOS. The other settings are those of
    `WordFormAlignment`. In a PyTorch training loop:

        batch = objective.batch(step)
        loss = model(**text).loss + objective.loss(objective.encode(model, batch), batch)["align"]

    Raises LexiconError if no group of the lexicon has two forms that the tokenizer can write.
    """

    def __init__(self, tokenizer: Tokenizer, lexicon: Lexicon, *, bos: bool = False, **settings: Any) -> None:
        super().__init__(word_forms(lexicon, tokenizer), bos=bos_id(tokenizer) if bos else None, **settings)


def similarity_flops(model: Any, groups: float, words: WordSizes, devices: int = 1, layers: Layers = "all") -> float:
    """Return the FLOPs of a step's similarities on one device. They are float32 in any precision of the model.

    A layer takes 2 · W² · D, and its gradient twice as much (a batch in one tile saves half of that, which is not
    subtracted). All layers are L + 2, also with tied embeddings. Each device scores the forms of all devices.
    """
    forms, config = devices * min(groups, words.groups) * words.mean_forms_per_group, model.config
    return (1 + BACKWARD) * layer_count(layers, config.num_hidden_layers) * 2 * forms**2 * config.hidden_size


def selected(layers: Layers, model: Any) -> slice:
    """Return the slice of layers of a model. "output" with tied embeddings is a RecipeError."""
    if layers == "output" and tied(model):
        raise RecipeError(
            "the alignment is of the output embedding alone (layers: output), but the model ties its embeddings, so the "
            "output embedding is layer 0. Use layers: embedding, or model.tie_embeddings: false."
        )
    return layer_slice(layers, model.config.num_hidden_layers)


def _several_ranks() -> bool:
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


def rank_and_ranks() -> tuple[int, int]:
    """Return the number of this process and of all processes that train together."""
    return (dist.get_rank(), dist.get_world_size()) if _several_ranks() else (0, 1)


def maxima_over_ranks(*numbers: int, device: torch.device) -> Sequence[int]:
    """Return the maximum of each number over all ranks."""
    if not _several_ranks():
        return numbers
    most = torch.tensor(numbers, device=device)
    dist.all_reduce(most, dist.ReduceOp.MAX)
    return [*map(int, most.tolist())]


def mean_of_ranks(number: Tensor) -> Tensor:
    """Return the mean of a number over ranks.

    Gradients are averaged over ranks, so a sum divided by the mean count is the mean over the examples of all ranks.
    """
    if not _several_ranks():
        return number
    total = number.detach().clone()
    dist.all_reduce(total)
    return total / dist.get_world_size()


def gather_states(states: Tensor) -> Tensor:
    """Join the rows (S, …) of all ranks, which have as many each. Gradients flow as in `gather_words`."""
    return torch.cat(all_gather(states.contiguous())) if _several_ranks() else states


def gather_words(states: Tensor, groups: Tensor, surfaces: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Join the word forms of all ranks: pad, gather, cut the padding off.

    states (L, W, D), groups (W,), surfaces (W,); W may differ by rank. Returns the same three tensors for the joined
    batch; a single process gets its inputs back. Gradients flow to the states of every rank. The backward of the gather
    sums over ranks, and DDP and FSDP average gradients over ranks, so the result is the exact gradient of the joined
    batch.
    """
    if not _several_ranks():
        return states, groups, surfaces
    sizes = _sizes(groups)
    gathered = all_gather(F.pad(states, (0, 0, 0, max(sizes) - len(groups))).contiguous())
    states = torch.cat([part[:, :size] for part, size in zip(gathered, sizes, strict=True)], dim=1)
    return states, *gather_rows(groups, surfaces)


def gather_rows(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    """Join two int tensors (W,) of all ranks; W may differ by rank. A single process gets its inputs back."""
    if not _several_ranks():
        return first, second
    sizes = _sizes(first)
    rows = F.pad(torch.stack([first, second]), (0, max(sizes) - len(first))).contiguous()
    parts = [torch.empty_like(rows) for _ in sizes]
    dist.all_gather(parts, rows)
    joined = torch.cat([part[:, :size] for part, size in zip(parts, sizes, strict=True)], dim=1)
    return joined[0], joined[1]


def _sizes(rows: Tensor) -> list[int]:
    """Return the length of `rows` (W,) on each rank."""
    count = torch.tensor([len(rows)], device=rows.device)
    counts = [torch.empty_like(count) for _ in range(dist.get_world_size())]
    dist.all_gather(counts, count)
    return [int(c) for c in counts]
