"""XLCo: contrast of sentences with the keys of a queue, the objective of InfoXLM.

1. A query is W h: h is the state of a sentence at one layer, W (D, D) a projection without bias that starts as N(0, 0.02).
   The key of its translation is W' h', from slow copies of W and of the model, without dropout:
       loss = -log( exp(q · k / 0.25) / (exp(q · k / 0.25) + sum over keys n in the queue of exp(q · n / 0.25)) )
2. A step moves the slow copies, computes queries and keys, and puts the keys of all ranks into the queue
   (`prealign.methods.peers.momentum_queue`). Before the first step, the keys of other pairs fill the queue.
3. Mix-up: a sentence is two sentences, whose order is drawn for each side. If both do not fit into the context on both
   sides, it is the first alone. A draw decides as well which side is the query.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from prealign.errors import RecipeError
from prealign.methods.alignment.objective import gather_states, rank_and_ranks
from prealign.methods.alignment.states import measured
from prealign.methods.flops import BACKWARD
from prealign.methods.memory import FLOAT
from prealign.methods.peers.momentum_queue import MomentumQueue
from prealign.methods.peers.sentence_objective import SentenceObjective
from prealign.methods.peers.sentence_pairs import turned_pairs
from prealign.methods.peers.sentence_states import SentenceEncoder, shallow
from prealign.methods.phase import Cost

# S pairs of a step, n tokens of the longest sentence, D width, K keys in the queue

TEMPERATURE = 0.25
MODULE = "xlco"
"""Attribute of the model that holds projection, slow copies and queue while a phase trains."""
_PROJECTION, _SPREAD = "projection", 0.02


@dataclass(frozen=True)
class XLCo(SentenceObjective):
    """The contrast. queue: K. momentum: of the slow copies. mixup: a sentence is two, of at most `longest` tokens."""

    queue: int
    momentum: float
    mixup: bool
    longest: int
    name = MODULE

    def module(self, model: Any) -> nn.Module:
        """Return the module that the model needs, at its start."""
        width, generator = model.config.hidden_size, torch.Generator().manual_seed(self.data.seed)
        start = torch.empty(width, width).normal_(0, _SPREAD, generator=generator)
        projection = nn.Parameter(start.to(model.get_input_embeddings().weight))
        weights = _body(model, self.encoder) | {_PROJECTION: projection}
        made = MomentumQueue(weights, width=width, size=self.queue, momentum=self.momentum)
        made.register_parameter(_PROJECTION, projection)
        return made

    def batch(self, step: int, rank: int = 0, ranks: int = 1) -> dict[str, Tensor]:
        """Return ids (2 S, n) and lengths (2 S,) of a step, queries first. The steps before 0 fill the queue."""
        items = (step * ranks + rank) * self.size + np.arange(self.size)
        return turned_pairs(self.data, items, longest=self.longest if self.mixup else None)

    # Batches have many shapes, and torch.compile would compile each.
    @torch.compiler.disable
    def encode(self, model: Any, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return "queries" and "keys" (S, D), and "negatives" (K, D): the queue before this step."""
        state, online = model.get_submodule(MODULE), _body(model, self.encoder)
        projection = state.get_parameter(_PROJECTION)
        if not state.full:
            self._fill(model, batch["ids"].device)
        state.follow(online | {_PROJECTION: projection})
        ids, lengths = batch["ids"][: self.size], batch["lengths"][: self.size]
        queries = _projected(self.encoder.sentences(model, ids, lengths), projection)
        keys, negatives = self._keys(model, batch), state.queue.clone()
        state.push(gather_states(keys))
        return {"queries": queries, "keys": keys, "negatives": negatives}

    def check_data(self, ranks: int = 1) -> None:
        """RecipeError if there are too few pairs: a sentence would meet its own translation in the queue."""
        needed, most = self._parts * (self.queue + ranks * self.size), len(self.data) // self._parts - ranks * self.size
        if needed > len(self.data):
            remedy = f"lower it to at most {most:,}" if most > 0 else "lower methods.infoxlm.pairs"
            raise RecipeError(
                f"methods.infoxlm.queue: {self.queue:,} keys and a batch of {ranks * self.size:,} take {needed:,} pairs of "
                f"sentences, and the parallel text has {len(self.data):,}, so a sentence would meet its own translation "
                f"among the negatives. Give more text, or {remedy}."
            )

    def _fill(self, model: Any, device: torch.device) -> None:
        rank, ranks = rank_and_ranks()
        self.check_data(ranks)
        for step in range(-self.queue // (ranks * self.size), 0):  # rounded up, away from 0
            batch = {name: tensor.to(device) for name, tensor in self.batch(step, rank, ranks).items()}
            model.get_submodule(MODULE).push(gather_states(self._keys(model, batch)))

    def _keys(self, model: Any, batch: Mapping[str, Tensor]) -> Tensor:
        slow = model.get_submodule(MODULE).weights
        projection = slow.pop(_PROJECTION)
        with measured(model):
            ids, lengths = batch["ids"][self.size :], batch["lengths"][self.size :]
            return _projected(self.encoder.sentences(model, ids, lengths, slow), projection)

    def loss(self, encoded: Mapping[str, Tensor], batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return "xlco": the mean over the queries of this rank. All ranks have as many."""
        queries, keys, negatives = (encoded[name] for name in ("queries", "keys", "negatives"))
        with torch.autocast(queries.device.type, enabled=False):
            logits = torch.cat([(queries * keys).sum(1, keepdim=True), queries @ negatives.T], 1) / TEMPERATURE
        return {"xlco": (logits.logsumexp(1) - logits[:, 0]).mean()}

    def score_flops(self, model: Any, devices: int) -> float:
        """Return the FLOPs of projections and similarities; keys have no gradient."""
        width = model.config.hidden_size
        return float(2 * self.size * width * ((2 + BACKWARD) * width + 2 * self.queue))

    def cost(self, model: Any, devices: int = 1, *, freeze_body: bool = False) -> Cost:
        """Return the cost of queries, of keys, which have no backward pass, of projections and of similarities."""
        tokens, scores = self.size * self._length, self.score_flops(model, devices)
        encoding = self.encoder.flops(model, tokens, self._length, freeze_body=freeze_body)
        encoding += self.encoder.forward_flops(model, tokens, self._length)
        return Cost(encoding + scores, 2 * tokens, scores)

    def fill_cost(self, model: Any) -> Cost:
        """Return the cost of filling the queue, as if each device did it alone."""
        tokens, products = self.queue * self._length, 2 * self.queue * model.config.hidden_size**2
        return Cost(self.encoder.forward_flops(model, tokens, self._length) + products, tokens, products)

    def memory(self, model: Any, devices: int = 1, *, bf16: bool = False) -> float:
        """Return the bytes of activations, of the copy of the queue, and of similarities with their gradient."""
        activations = self.encoder.memory(model, self.size, self._length, bf16=bf16)
        return activations + FLOAT * self.queue * (model.config.hidden_size + 3 * self.size)

    @property
    def _parts(self) -> int:
        return 2 if self.mixup else 1

    @property
    def _length(self) -> float:
        return self._parts * self.data.mean_tokens

    def describe(self) -> dict[str, Any]:
        """Return the settings as JSON values."""
        return super().describe() | {"queue": self.queue, "momentum": self.momentum, "mixup": self.mixup}


def _body(model: Any, encoder: SentenceEncoder) -> dict[str, Tensor]:
    """Return the weights of the blocks that encode sentences."""
    with shallow(model, encoder.number(model)) as (body, _):
        return dict(body.named_parameters())


def _projected(states: Tensor, projection: Tensor) -> Tensor:
    with torch.autocast(states.device.type, enabled=False):
        return states @ projection.to(states.dtype).T
