"""The mapping between leaves of a model and rows of tables."""
