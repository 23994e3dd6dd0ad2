"""Train the demo language model from generated text and save it: ``python jobs/train_demo_llm.py [FOLDER]``.

The folder is ``hnlm_ray/assets/demo_llm`` unless another is given. Takes under an hour on two cores.
"""

import sys
import time
from pathlib import Path

from hnlm_ray import assets
from hnlm_ray.training.demo_corpus import examples
from hnlm_ray.training.demo_llm import Recipe, build_tokenizer, train


def main() -> None:
    """Train the tokenizer on the text of a few worlds, then the model on as many worlds as it takes."""
    recipe = Recipe()
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else assets.resolve("demo"))
    started = time.monotonic()
    texts = (part for row in examples(4) for part in (row.prompt.system, row.prompt.user, row.answer))
    tokenizer = build_tokenizer(texts, recipe)
    print(f"tokenizer of {len(tokenizer)} entries after {time.monotonic() - started:.0f} s", flush=True)
    train(tokenizer, examples(10_000), recipe, folder, say=lambda line: print(line, flush=True))
    print(f"saved {folder} after {(time.monotonic() - started) / 60:.1f} minutes")


if __name__ == "__main__":
    main()
