"""The versions that podwire states of itself; each is written here and nowhere else."""

PODWIRE = "0.1.0"  # pyproject.toml reads this line
KUBERNETES = "1.36.0"  # the release whose kinds and fields control/api has
KUBERNETES_MINOR = KUBERNETES.rpartition(".")[0]
