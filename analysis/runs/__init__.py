"""Tables of runs: read, recognised, made into rows, replicates found."""
