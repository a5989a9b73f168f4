"""FLENwheel: turn 10-20 pictures of a character into a LoRA that draws that character reliably."""

__version__ = "0.1.0"
