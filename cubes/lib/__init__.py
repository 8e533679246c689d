"""What cubes share: pure functions on bytes and addresses. It knows no cube."""
