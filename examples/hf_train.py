"""A Hugging Face model on text files, with `attn_implementation="ulysses"`; batches are padded on the left.

pip install './packages/torch[examples]'
npx ulysses up --context-parallel-size 4
python examples/hf_train.py --address 127.0.0.1:7100 --model mistral README.md docs --compare
"""

from __future__ import annotations

import argparse
import os
import random
import time
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm
from transformers import AutoModelForCausalLM, GPT2Config, LlamaConfig, MistralConfig, Qwen2Config

import ulysses_torch

SIZES = {"vocab_size": 256, "hidden_size": 168, "intermediate_size": 448, "num_hidden_layers": 2, "use_cache": False}
CONFIGS = {
    "llama": LlamaConfig(**SIZES, num_attention_heads=6, num_key_value_heads=2),
    "mistral": MistralConfig(**SIZES, num_attention_heads=6, num_key_value_heads=2, sliding_window=128),
    "qwen2": Qwen2Config(**SIZES, num_attention_heads=28, num_key_value_heads=4),
    "gpt2": GPT2Config(
        vocab_size=256, n_embd=170, n_layer=2, n_head=5, use_cache=False, attn_pdrop=0, resid_pdrop=0, embd_pdrop=0
    ),
}


def batch_of(parts: list[Tensor]) -> dict[str, Tensor]:
    """Texts of unequal lengths, padded on the left: int64 [b, s] each; no loss on padding."""
    longest = max(len(part) for part in parts)
    tokens = torch.zeros(len(parts), longest, dtype=torch.int64)
    mask = torch.zeros_like(tokens)
    for row, part in enumerate(parts):
        tokens[row, longest - len(part) :] = part
        mask[row, longest - len(part) :] = 1
    labels = tokens.masked_fill(mask == 0, -100)
    for row, part in enumerate(parts):
        # Nothing is learned from a padding token's prediction.
        labels[row, longest - len(part)] = -100
    positions = (mask.cumsum(1) - 1).clamp(min=0)
    return {"input_ids": tokens, "attention_mask": mask, "position_ids": positions, "labels": labels}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("texts", nargs="+", type=Path, help="text files, or folders of them")
    parser.add_argument("--address", default=os.environ.get("ULYSSES_ADDRESS", "127.0.0.1:7100"))
    parser.add_argument("--insecure", action="store_true", help="dial beyond loopback in plaintext")
    parser.add_argument("--model", choices=sorted(CONFIGS), default="llama")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--max-length", type=int, default=509)
    parser.add_argument("--compare", action="store_true", help="train with attn_implementation='sdpa' too")
    options = parser.parse_args()

    files = [file for path in options.texts for file in (sorted(path.rglob("*.*")) if path.is_dir() else [path])]
    texts = [torch.tensor(list(file.read_bytes())) for file in files if file.is_file()]
    pool = [part for text in texts for part in text.split(options.max_length) if len(part) > 1]
    chosen = random.Random(0)
    data = [batch_of(chosen.choices(pool, k=options.batch)) for _ in range(options.steps)]

    with ulysses_torch.connect(options.address, job="hf-train", insecure=options.insecure) as cluster:
        ulysses_torch.register_transformers(cluster)
        torch.manual_seed(0)
        models: list[Any] = [
            AutoModelForCausalLM.from_config(deepcopy(CONFIGS[options.model]), attn_implementation=implementation)
            for implementation in (("ulysses", "sdpa") if options.compare else ("ulysses",))
        ]
        for model in models[1:]:
            model.load_state_dict(models[0].state_dict())
        optimizers = [torch.optim.AdamW(model.parameters(), lr=1e-3) for model in models]
        begun, tokens = time.perf_counter(), 0
        with tqdm(enumerate(data, 1), total=len(data), unit="step") as progress:
            for step, batch in progress:
                losses = []
                for model, optimizer in zip(models, optimizers, strict=True):
                    loss = model(**batch).loss
                    loss.backward()
                    optimizer.step()
                    optimizer.zero_grad()
                    losses.append(loss.item())
                tokens += int(batch["attention_mask"].sum())
                local = f"  sdpa {losses[1]:.4f}" if options.compare else ""
                shape = list(batch["input_ids"].shape)
                progress.write(f"step {step:3d}  batch {shape}  loss {losses[0]:.4f}{local}")
                progress.set_postfix_str(f"{tokens / (time.perf_counter() - begun):.0f} tokens/s")


if __name__ == "__main__":
    main()
