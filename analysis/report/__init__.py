"""The page: its data, sentences and figures."""
