"""What a law predicts of runs that it has not seen, and how it compares."""
