"""Language models behind one protocol: vLLM under Ray Data, any OpenAI-compatible endpoint, and a script for tests."""
