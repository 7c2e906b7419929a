"""The proxy lab: small training runs that feed the same tables as other people's logs.

`plan` reads SWEEP.toml, `data` the corpus; `model` and `train` (the importers of torch) make one run, `sweep` makes
them all and resumes; `folder` tells how far it is, `cost` what it will take, `export` writes runs.csv and curves.csv.
"""
