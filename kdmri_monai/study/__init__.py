"""Studies: arms, folds and seeds of runs of the bundle, started, resumed and set against each other by one command."""
