"""What `isoflop train --help` says: what can be set, which choices there are, and how to begin.

names("family")         # ['cnn', 'gru', ...]: the yamls of a group, ours and those of declared extensions
"""

from isoflop.scaling.config.choices import names

TEXT = """isoflop train: train one run, or with -m a sweep of them; rerun the same command to resume

usage: isoflop train [-m] [key=value ...]

what is trained
  family=NAME        the architecture: {family}
  family.width=32    its two dials, width and depth; every other knob of a family is family.KNOB too
  data=NAME          what it learns: {data}
                     data=files data.path=PATH is a corpus of your own, which isoflop prepare tokenises beforehand
  data.size=1e6      distinct training examples or targets, as the dataset counts them
  recipe=NAME        how it is trained: {recipe}
  seed=0             of the initialisation and the order of the data; several seeds show how much is noise

  probe=[positions]  what is measured beside the loss, at every mark: {probe}

how long: give one of these; without any, a run is one epoch
  budget.D=1e6       training targets, for text its bytes
  budget.C=1e12      training FLOPs
  budget.D_per_N=20  targets per parameter that multiplies (no embedding table)
  budget.epochs=2    passes over the data
  Steps are whole, so a budget is rounded up; below half a step it is refused, unless round_up=true.
  A list, budget.D=[1e5,1e6], measures several marks along one run: each is cooled down on a branch of one trunk, and is
  a row as if it were a run of its own, for less compute.

where it goes
  out=runs           the folder of the run or sweep; a run's own folder there is named by a hash of what determines it
  logger=NAME        where it is mirrored too: {logger}; docs/wandb.md
  tags=[pilot]       words to find it by there
  rung=...           a run's place in a sweep, the same for every family and seed; a sweep fills it in

sweeps
  -m                 every combination of values with a comma between: family=mlp,lstm family.width=16,32
  study=NAME         the runs of a study, or a ready-made sweep: {study}
  hydra.launcher.n_jobs=4        runs at a time; hydra.launcher.timeout_s=3600: the longest of a run
  hydra/launcher=slurm           on a cluster: docs/clusters.md
  isoflop.extensions=[my_lab]    families, data, recipes and studies of a folder of your own: docs/adding.md

examples
  isoflop train family=lstm family.width=32 data.size=1e5           one run, one epoch of 100,000 bytes
  isoflop train family=mlp budget.C=1e11                            one run for a budget of training FLOPs
  isoflop train -m family=mlp,lstm family.width=16,32,64 budget.D=1e6 seed=0,1,2 out=runs/first       18 runs
  isoflop train family=transformer budget.D=[1e5,3e5,1e6]           three marks along one run
  isoflop train study=grid family=lstm out=runs/grid                a ready-made sweep

`isoflop train family=lstm --cfg job` shows every key and its value, and runs nothing; `isoflop plan -m ...` says what a
sweep would take; `isoflop status DIR` shows a folder of runs, `isoflop collect DIR` makes a table of it."""


def text() -> str:
    """The help."""
    return TEXT.format(
        **{group: ", ".join(names(group)) for group in ("family", "data", "recipe", "probe", "logger", "study")}
    )
