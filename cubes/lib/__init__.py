"""Shared by cubes: pure functions on bytes and addresses. Names no cube."""
