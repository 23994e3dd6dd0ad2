"""Train the demo's language model and text encoder from generated text: ``python jobs/train_demo_llm.py [FOLDER]``.

They go to ``FOLDER/demo_llm`` and ``FOLDER/demo_encoder``; the default is ``hnlm_ray/assets``. Takes under an hour on
two cores.
"""

import itertools
import sys
import time
from pathlib import Path

from hnlm_ray.demo import assets
from hnlm_ray.demo.corpus import examples
from hnlm_ray.demo.encoder import EncoderRecipe, train_encoder
from hnlm_ray.demo.language_model import Recipe, build_tokenizer, train

_SHORT_WORLDS = 22


def main() -> None:
    """Train the tokenizer on the text of a few worlds, then both models on as many worlds as it takes."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(assets.__file__).parent
    started, recipe = time.monotonic(), Recipe()
    texts = (part for row in examples(4) for part in (row.prompt.system, row.prompt.user, row.answer))
    tokenizer = build_tokenizer(texts, recipe)
    say(f"tokenizer of {len(tokenizer)} entries")
    train_encoder(tokenizer, EncoderRecipe(), folder / "demo_encoder", say)
    # Short prompts first: they are cheap, and once copying and counting are learned there the long ones build on it.
    lessons = itertools.chain(examples(_SHORT_WORLDS, longest_history=4), examples(10_000))
    train(tokenizer, lessons, recipe, folder / "demo_llm", say=say)
    say(f"saved to {folder} after {(time.monotonic() - started) / 60:.1f} minutes")


def say(line: str) -> None:
    """Print at once, also into a file."""
    print(line, flush=True)


if __name__ == "__main__":
    main()
