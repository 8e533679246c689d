"""How the leaves of a model become rows of tables, and rows leaves."""
