"""The services of the bank. None imports another; they meet in the contracts of `protos/`."""
