"""The attention that precis-gpu-bench and its peers compute."""

HEADS, HEAD_DIM, TOKENS = 12, 64, 16384  # tokens: of all sequences together
