"""What a cube type is: its files, its model, and the SDK that its Python imports."""
