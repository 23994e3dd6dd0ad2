"""A language model with random weights, complete enough for tokenizers, checks and engines."""

from __future__ import annotations

from pathlib import Path

__all__ = ["pickle_weights", "write_tiny_model"]

TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def write_tiny_model(folder: Path) -> Path:
    """A two-layer Llama over bytes, written to ``folder``."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    special = ["<|pad|>", "<|im_start|>", "<|im_end|>"]
    alphabet = {symbol: index for index, symbol in enumerate([*special, *sorted(pre_tokenizers.ByteLevel.alphabet())])}
    bytes_only = Tokenizer(models.BPE(vocab=alphabet, merges=[]))
    bytes_only.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bytes_only.decoder = decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=bytes_only,
        pad_token=special[0],
        eos_token=special[2],
        additional_special_tokens=special,
    )
    tokenizer.chat_template = TEMPLATE
    tokenizer.save_pretrained(str(folder))
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        max_position_embeddings=2048,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    LlamaForCausalLM(config).to(torch.bfloat16).save_pretrained(str(folder))
    return folder


def pickle_weights(folder: Path) -> Path:
    """Put a pickle in the place of each safetensors file: whole weights that PyTorch would read."""
    import torch
    from safetensors.torch import load_file

    pickles = {"model": "pytorch_model.bin", "adapter_model": "adapter_model.bin"}
    for path in folder.glob("*.safetensors"):
        torch.save(load_file(path), folder / pickles[path.stem])
        path.unlink()
    return folder
