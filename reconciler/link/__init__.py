"""The linker: compiled cubes and assembled glue become programs for the kernel. Bytes in, bytes out."""
