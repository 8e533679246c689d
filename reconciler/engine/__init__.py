"""The verbs, and the transaction that carries them out."""
