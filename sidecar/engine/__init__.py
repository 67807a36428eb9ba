"""The product's two sentences, a look and a repair, and what starts and stops them. Knows ports, never an adapter."""
