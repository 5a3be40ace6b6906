"""One attempt at one video on one Triton server; see README.md."""
