"""What a sweep would run, take and cost, and what its laws could resolve."""
