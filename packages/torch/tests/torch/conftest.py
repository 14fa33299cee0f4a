"""Settings of all tests that import PyTorch, before one does; their child processes inherit them."""

import os

# Ranks compute on the same cores: further threads of PyTorch would spin there while they wait for each other.
os.environ["OMP_NUM_THREADS"] = "1"
