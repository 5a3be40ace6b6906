"""A broadcast test card as a video model: the reference implementation of the contract in deploy/triton/README.md."""
