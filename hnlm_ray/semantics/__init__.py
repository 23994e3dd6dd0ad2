"""Which pairs get a written negative, what the prompts are made of, and what an answer means in the catalogue."""
