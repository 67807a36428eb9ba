"""Ways to look from outside. One file a kind; `kinds.py` lists them."""
