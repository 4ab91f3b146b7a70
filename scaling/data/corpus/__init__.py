"""From documents to memory-mapped tokens: what is read, how it is split and tokenised, and where it is kept (no torch)."""
