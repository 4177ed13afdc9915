"""Proposals for importance sampling: where the draws behind L_K come from."""
