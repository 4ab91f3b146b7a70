"""What people see of a sweep: its state, live progress, the loss that runs at work may end at."""
