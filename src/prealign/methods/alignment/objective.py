"""Word alignment as an objective: which words a step reads, how they are encoded, and their loss over all ranks.

1. A batch is some translation groups of the lexicon, known from the step's number (`words`).
2. Their forms are encoded at every layer (`states`), with `micro_pairs` in micro-batches whose activations are made again in
   the backward pass: one forward and one backward all the same.
3. The states of all ranks are gathered with gradients. Each rank scores the joined batch (`loss`), so the average of the
   gradients over ranks is the gradient of one process on that batch.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.nn.functional import all_gather
from torch.nn import functional as F

from prealign.errors import RecipeError
from prealign.lexicon import Lexicon
from prealign.methods.alignment.loss import TILE, ExcludedPairs, WordAlignmentLoss
from prealign.methods.alignment.states import ROW, bos_id, encoded_word_states, tied
from prealign.methods.alignment.words import WordForms, WordSizes, word_forms
from prealign.methods.flops import BACKWARD, training_flops
from prealign.methods.memory import words_memory
from prealign.methods.phase import Cost, Objective
from prealign.text.words import Tokenizer

# L layers, W word forms, D width

Layers = Literal["all", "embedding", "output"]


class WordFormAlignment(Objective):
    """L_align of a batch of translation groups, for words that are encoded already.

    words: the forms; or their sizes alone, which `cost` and `memory` need. groups: translation groups of a batch on one
    device. temperature: tau. layers: which take part, all L + 2, the input or the output embedding. bos: the id that each
    word is encoded after, if any. micro_pairs: groups whose activations are in memory at once, all if None; the gradient is
    the same. seed: of the order of the groups.
    """

    name = "words"

    def __init__(
        self,
        words: WordForms | WordSizes,
        *,
        groups: int = 256,
        temperature: float = 0.1,
        layers: Layers = "all",
        bos: int | None = None,
        micro_pairs: int | None = None,
        seed: int = 0,
    ) -> None:
        self.words, self.groups, self.layers, self.bos = words, groups, layers, bos
        self.micro_pairs, self.seed = micro_pairs, seed
        self.score = WordAlignmentLoss(temperature)

    def batch(self, step: int, rank: int = 0, ranks: int = 1) -> dict[str, Tensor]:
        """Return word_ids (W, n), word_lengths, word_groups and word_surfaces (W,) of step `step` on one rank."""
        assert isinstance(self.words, WordForms), "made for sizes alone"
        return self.words.numbered_batch(step * ranks + rank, self.groups, self.seed)

    # Compiled once for each new shape of the words otherwise; the text of a step always has the same.
    @torch.compiler.disable
    def encode(self, model: Any, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return "states" (L', W, D) of the layers that take part."""
        groups = batch["word_groups"]
        forms, pairs = most_of_ranks(len(groups), len(groups.unique()), device=groups.device)
        micro = None
        if self.micro_pairs is not None and self.micro_pairs < pairs:
            micro = math.ceil(self.micro_pairs * forms / pairs)
        ids, lengths = batch["word_ids"], batch["word_lengths"]
        states = encoded_word_states(model, ids, lengths, self.bos, micro, forms)
        return {"states": states[layer_slice(self.layers, model)]}

    def loss(self, encoded: Mapping[str, Tensor], batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return "align": L_align of the words of all ranks."""
        states, groups, surfaces = gather_words(encoded["states"], batch["word_groups"], batch["word_surfaces"])
        return {"align": self.score(states, groups, ExcludedPairs(groups, surfaces))}

    def cost(self, model: Any, devices: int = 1, *, freeze_body: bool = False) -> Cost:
        """Return the cost of word forwards, similarities and backward. A batch never holds a group twice.

        Forms count as if each stood alone: neither the attention between the forms of a row, which is masked, nor unused
        places.
        """
        groups, words = min(self.groups, self.words.groups), self.words
        length = words.mean_tokens_per_group / words.mean_forms_per_group
        tokens = groups * words.mean_tokens_per_group
        encode = training_flops(model, tokens, length, logits=False, freeze_body=freeze_body)
        similarities = similarity_flops(model, groups, words, devices)
        return Cost(encode + similarities, tokens, similarities)

    def memory(self, model: Any, devices: int = 1, *, bf16: bool = False) -> float:
        """Return the bytes of the words' activations, their states, and the similarities of a tile."""
        words = self.words
        layers = range(model.config.num_hidden_layers + (1 if model.config.tie_word_embeddings else 2))
        return words_memory(
            model,
            min(self.groups, words.groups) * words.mean_forms_per_group,
            words.mean_tokens_per_group / words.mean_forms_per_group,
            layers=len(layers[layer_slice(self.layers, model)]),
            ranks=devices,
            bf16=bf16,
            tile=TILE,
            row=ROW,
            micro=self.micro_pairs and self.micro_pairs * words.mean_forms_per_group,
        )

    def check(self, model: Any) -> None:
        """RecipeError if the output embedding alone takes part and is the input embedding."""
        layer_slice(self.layers, model)

    def describe(self) -> dict[str, Any]:
        """Return its settings."""
        return {
            "objective": "word alignment",
            "groups": self.groups,
            "temperature": self.score.temperature,
            "layers": self.layers,
            "bos": self.bos is not None,
            "micro_pairs": self.micro_pairs,
        }


class WordAlignment(WordFormAlignment):
    """L_align for a lexicon: the objective of stage 1, and of sustained alignment.

    bos: encode each word after BOS (EOS where there is none). The other settings are those of `WordFormAlignment`. In a
    training loop of PyTorch:

        batch = objective.batch(step)
        loss = model(**text).loss + objective.loss(objective.encode(model, batch), batch)["align"]

    Raises LexiconError if no group of the lexicon has two forms that the tokenizer can write.
    """

    def __init__(self, tokenizer: Tokenizer, lexicon: Lexicon, *, bos: bool = False, **settings: Any) -> None:
        super().__init__(word_forms(lexicon, tokenizer), bos=bos_id(tokenizer) if bos else None, **settings)


def similarity_flops(model: Any, groups: float, words: WordSizes, devices: int = 1) -> float:
    """Return the FLOPs of the similarities of a step, in float32 whatever the precision of the model.

    2 · W² · D a layer, and twice that for its gradient, of which a batch in one tile saves half; L + 2 layers are counted,
    tied or not. Each device scores the forms of all.
    """
    forms, config = devices * min(groups, words.groups) * words.mean_forms_per_group, model.config
    return (1 + BACKWARD) * (config.num_hidden_layers + 2) * 2 * forms**2 * config.hidden_size


def layer_slice(layers: str, model: Any) -> slice:
    """Return the layers of `align.layers` that take part. "output" with tied embeddings is a RecipeError."""
    if layers == "output" and tied(model):
        raise RecipeError(
            "align.layers is 'output', but the model ties its embeddings, so the output embedding is layer 0. "
            "Use align.layers: embedding, or model.tie_embeddings: false."
        )
    return {"all": slice(None), "embedding": slice(0, 1), "output": slice(-1, None)}[layers]


def _several_ranks() -> bool:
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


def most_of_ranks(*numbers: int, device: torch.device) -> Sequence[int]:
    """Return the greatest that any rank has of each."""
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


def gather_words(states: Tensor, groups: Tensor, surfaces: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Join the word forms of all ranks, padding before the collective and cutting after it.

    states (L, W, D), groups and surfaces (W,), W may differ by rank. Gradients flow to every rank's states: the backward
    of the gather sums over ranks, so with gradients averaged over ranks (DDP, FSDP) each rank's loss of the joined batch
    yields exactly its gradient. One process gets its own tensors back.
    """
    if not _several_ranks():
        return states, groups, surfaces
    count = torch.tensor([len(groups)], device=groups.device)
    counts = [torch.empty_like(count) for _ in range(dist.get_world_size())]
    dist.all_gather(counts, count)
    sizes = [int(c) for c in counts]
    padding = max(sizes) - len(groups)
    gathered = all_gather(F.pad(states, (0, 0, 0, padding)).contiguous())
    states = torch.cat([part[:, :size] for part, size in zip(gathered, sizes, strict=True)], dim=1)
    labels = F.pad(torch.stack([groups, surfaces]), (0, padding)).contiguous()
    label_parts = [torch.empty_like(labels) for _ in sizes]
    dist.all_gather(label_parts, labels)
    labels = torch.cat([part[:, :size] for part, size in zip(label_parts, sizes, strict=True)], dim=1)
    return states, labels[0], labels[1]
