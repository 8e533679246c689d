"""YANG models of the built-in services, the JSON Schemas made from them, and the generator that does it."""
