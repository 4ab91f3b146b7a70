"""A W&B workspace and report of mirrored runs, made by code: what `isoflop report` says, where the runs are shown.

dashboard = build(look(read_runs("runs.csv")), "me", "isoflop")
dashboard.as_json()     # what would be saved
save(dashboard)         # the addresses of the workspace and the report
"""
