"""The append-only record: segments, tree, checkpoints, proofs and the verifier."""
