"""Code-switch any corpus: as a step of `datasets.map`, and in a collator that switches anew in each epoch.

    python examples/switch_a_dataset.py TOKENIZER DICTIONARY TARGET TEXT

TOKENIZER is a folder or hub id. DICTIONARY is a file from English to TARGET, in any format that `prealign lexicon inspect`
reads. TEXT is a file with a document a line.
"""

from __future__ import annotations

import sys
from typing import Any

import torch
from datasets import Dataset, load_dataset
from transformers import AutoTokenizer

from prealign import CodeSwitcher, Lexicon


def switched_dataset(tokens: Dataset, switcher: CodeSwitcher, epoch: int = 0) -> Dataset:
    """Add `labels` and replace `input_ids` by switched ones; row i draws by (seed, epoch, i), whatever the workers."""

    def switch(row: dict[str, Any], index: int) -> dict[str, Any]:
        done = switcher.switch(row["input_ids"], epoch=epoch, document=index)
        return {"input_ids": done.input_ids, "labels": done.labels}

    return tokens.map(switch, with_indices=True)


class SwitchingCollator:
    """Switches the rows of a batch and pads them; set `epoch` before each pass over the data.

    Rows need the columns "input_ids" and "document", a number of their own.
    """

    def __init__(self, switcher: CodeSwitcher, pad: int) -> None:
        self.switcher, self.pad, self.epoch = switcher, pad, 0

    def __call__(self, rows: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
        """Return input_ids, labels and attention_mask (B, T) of rows."""
        done = [self.switcher.switch(r["input_ids"], epoch=self.epoch, document=r["document"]) for r in rows]
        longest = max(len(one.input_ids) for one in done)
        batch = {
            "input_ids": torch.full((len(done), longest), self.pad),
            "labels": torch.full((len(done), longest), -100),
            "attention_mask": torch.zeros(len(done), longest, dtype=torch.long),
        }
        for i, one in enumerate(done):
            for name, values in (("input_ids", one.input_ids), ("labels", one.labels)):
                batch[name][i, : len(values)] = torch.from_numpy(values)
            batch["attention_mask"][i, : len(one.input_ids)] = 1
        return batch


def main(tokenizer_path: str, dictionary: str, target: str, text: str) -> Dataset:
    """Return the switched dataset, and print its first row."""
    tokenizer = AutoTokenizer.from_pretrained(tokenizer_path)
    lexicon = Lexicon.read(dictionary, source="en", target=target)
    switcher = CodeSwitcher(tokenizer, lexicon, ratio=0.3, seed=0)
    lines = load_dataset("text", data_files=text, split="train")
    tokens = lines.map(
        lambda row, i: {"input_ids": tokenizer(row["text"], add_special_tokens=False)["input_ids"], "document": i},
        with_indices=True,
    )
    switched = switched_dataset(tokens, switcher)
    print(tokenizer.decode(switched[0]["input_ids"]))
    batch = SwitchingCollator(switcher, pad=tokenizer.eos_token_id)([tokens[i] for i in range(2)])
    print({name: tuple(tensor.shape) for name, tensor in batch.items()})
    return switched


if __name__ == "__main__":
    main(*sys.argv[1:])
