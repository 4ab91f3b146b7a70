"""From documents to memory-mapped tokens: how they are read, split, tokenised and kept (no torch)."""
