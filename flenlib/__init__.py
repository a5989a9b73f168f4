"""FLENwheel: turn 10-20 pictures of a character into a LoRA that draws that character reliably."""

import os

# OpenMP's threads spin while they wait: beside one other busy program an edit of the mini studio took 7.8 s on two
# cores instead of 0.3 s. torch reads this once, when it is loaded.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

__version__ = "0.2.0.dev0"
