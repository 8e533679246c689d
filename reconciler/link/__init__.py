"""The linker: compiled cubes and what is assembled here, made into programs that the kernel loads. Bytes in, bytes out."""
